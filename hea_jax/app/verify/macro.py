"""Reference cases of the finite elements: patches, bars, Kirsch's plate, Cook's panel, orders of convergence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.verify.rows import Case, Check
from hea_jax.continuum.laws import Hooke, IsotropicHooke, NeoHooke
from hea_jax.continuum.mesh import (
    Hex8,
    Mesh,
    Quad4,
    Quad8,
    assemble_body_force,
    at_gauss,
    boundary_facets,
    box,
    component_of,
    cooks_membrane,
    discretise,
    embedded,
    facet_points,
    fixed_at,
    gauss_legendre,
    load_steps,
    loads_of,
    nearest_node,
    plate_with_hole,
    rectangle,
    solve_component,
    traction_forces,
    with_sets,
)
from hea_jax.core.tensors import bulk_shear_from_young, cubic_stiffness, from_mandel, to_mandel

CRYSTAL = cubic_stiffness(246.0, 134.0, 28.7)


def _isotropic(young: float, poisson: float) -> IsotropicHooke:
    return IsotropicHooke(*(jnp.asarray(v) for v in bulk_shear_from_young(young, poisson)))


def _unit(element, n: int, distortion: float) -> Mesh:
    """The unit square or cube, interior nodes moved, with its whole boundary as the set ``all``."""
    mesh = box((1.0, 1.0, 1.0), (n, n, n)) if element.dim == 3 else rectangle((1.0, 1.0), (n, n), element)
    nodes = np.asarray(mesh.nodes)
    inside = np.all((nodes > 1e-9) & (nodes < 1 - 1e-9), axis=1)[:, None]
    noise = np.random.default_rng(n).uniform(-1, 1, nodes.shape) * distortion / n
    moved = dataclasses.replace(mesh, nodes=jnp.asarray(nodes + inside * noise))
    return with_sets(moved, {"all": np.unique(boundary_facets(moved))})


def _patch() -> list[Check]:
    rows = []
    for element in (Quad4(), Quad8(), Hex8()):
        mesh, d = _unit(element, 3, 0.15), element.dim
        component = component_of(mesh, Hooke(CRYSTAL), fixed_at(mesh, {"all": range(d)}))
        H = 0.01 * np.random.default_rng(0).normal(size=(d, d))
        exact = np.asarray(mesh.nodes) @ H.T
        u = solve_component(component, loads_of(component, displacement=exact)).unwrap().displacement
        error = float(np.max(np.abs(u - exact)) / np.max(np.abs(exact)))
        rows.append(Check(f"patch test {type(element).__name__}, distorted: relative error", error, 0.0, "1", 1e-12,
                          "a linear field is exact (Irons 1966)"))
    return rows


def _kirsch_stress(x: np.ndarray) -> np.ndarray:
    """In-plane stress (…, 2, 2) around a hole of radius 1 under unit tension along x."""
    r2, t = np.sum(x**2, axis=-1), np.arctan2(x[..., 1], x[..., 0])
    a, b = 1 / r2, 1 / r2**2
    xx = 1 - a * (1.5 * np.cos(2 * t) + np.cos(4 * t)) + 1.5 * b * np.cos(4 * t)
    yy = -a * (0.5 * np.cos(2 * t) - np.cos(4 * t)) - 1.5 * b * np.cos(4 * t)
    xy = -a * (0.5 * np.sin(2 * t) + np.sin(4 * t)) + 1.5 * b * np.sin(4 * t)
    return np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)


def _kirsch() -> list[Check]:
    mesh, law = plate_with_hole(1.0, (4.0, 4.0), (16, 16), Quad8()), _isotropic(1.0, 0.3)
    component = component_of(mesh, law, fixed_at(mesh, {"left": (0,), "bottom": (1,)}))
    force = jnp.zeros(mesh.nodes.shape)
    for side in ("right", "top"):
        position, area = (np.asarray(a) for a in facet_points(mesh, side))
        normal = area / np.linalg.norm(area, axis=-1, keepdims=True)
        traction = np.einsum("fgij,fgj->fgi", _kirsch_stress(position), normal)
        force = force + traction_forces(mesh, side, jnp.asarray(traction))
    u = solve_component(component, loads_of(component, force=force)).unwrap().displacement
    # Stress at the nodes of the elements instead of at their Gauss points.
    at_nodes = component_of(discretise(mesh, rule=(Quad8().nodes, np.zeros(8))), law, component.fixed)
    stress = np.asarray(at_nodes.stress(loads_of(at_nodes), u))
    cells, rows = np.asarray(mesh.cells), []
    for place, at, row, exact in (("top", (0.0, 1.0), 0, 3.0), ("side", (1.0, 0.0), 1, -1.0)):
        value = float(np.mean(stress[..., row, row][cells == nearest_node(mesh, at)]))
        rows.append(Check(f"Kirsch, 256 Quad8: stress concentration, {place} of the hole", value, exact, "1", 0.015,
                          "exact (Kirsch 1898)"))
    return rows


def _cook() -> list[Check]:
    rows = []
    # Plane strain of these constants is plane stress of E = 1, ν = 1/3.
    law = _isotropic(15 / 16, 0.25)
    for element, n, value, tolerance, source in (
        (Quad8(), 16, 23.93459564, 1e-8, "scikit-fem 12.0.2, ElementQuadS2"),
        (Quad8(), 32, 23.96, 0.01, "literature, refined meshes (Cook 1974)"),
    ):
        mesh = cooks_membrane((n, n), element)
        component = component_of(mesh, law, fixed_at(mesh, {"left": (0, 1)}))
        loads = loads_of(component, force=traction_forces(mesh, "right", jnp.asarray([0.0, 1 / 16])))
        u = solve_component(component, loads).unwrap().displacement
        rows.append(Check(f"Cook's panel, {n}×{n} {type(element).__name__}: deflection",
                          float(u[nearest_node(mesh, (48, 52)), 1]), value, "nm", tolerance, source))
    return rows


def _cook_finite() -> list[Check]:
    mesh = cooks_membrane((16, 16), Quad4())
    component = component_of(mesh, NeoHooke(jnp.asarray(5.0), jnp.asarray(2.0)), fixed_at(mesh, {"left": (0, 1)}))
    loads = loads_of(component, force=traction_forces(mesh, "right", jnp.asarray([0.0, 0.1])))
    sol = load_steps(component, loads, steps=2)
    last = sol.unwrap()[-1]
    r, source = np.array(last.residuals), "felupe 11.3.0"
    order = np.log(r[-1] / r[-2]) / np.log(r[-2] / r[-3])
    u, tip = last.state.displacement, nearest_node(mesh, (48, 52))
    balance = float(jnp.max(jnp.abs(jnp.sum(last.state.reactions + loads.force, axis=0))))
    name = "neo-Hookean Cook's panel, 16×16 Quad4"
    return [Check(f"{name}: u_x", float(u[tip, 0]), -2.96039623, "nm", 1e-8, source),
            Check(f"{name}: u_y", float(u[tip, 1]), 5.80433879, "nm", 1e-8, source),
            Check(f"{name}: reactions + loads", balance, 0.0, "nN", 1e-10, "equilibrium"),
            Check(f"{name}: Newton's order falls short of 1.9 by", max(0.0, 1.9 - float(order)), 0.0, "1", 0.0,
                  "consistent tangent (Simo & Taylor 1985)")]


def _bar() -> list[Check]:
    """Springs in series: a modulus per element along a bar without lateral strain."""
    modulus = np.array([1.0, 8.0, 2.5, 4.0, 0.5, 6.0])
    mesh = box((12.0, 1.0, 1.0), (6, 1, 1))
    every = with_sets(mesh, {"all": np.arange(len(mesh.nodes))})
    law = IsotropicHooke(jnp.asarray(modulus / 3), jnp.asarray(modulus / 2))
    component = component_of(mesh, law, fixed_at(every, {"left": (0,), "all": (1, 2)}), varies=1)
    loads = loads_of(component, force=traction_forces(mesh, "right", jnp.asarray([0.3, 0.0, 0.0])))
    u = solve_component(component, loads).unwrap().displacement
    end = float(np.mean(np.asarray(u)[np.asarray(mesh.node_sets["right"]), 0]))
    return [Check("bar of six moduli: elongation", end, 0.3 * float(np.sum(2.0 / modulus)), "nm", 1e-12,
                  "exact (springs in series)")]


def _manufactured(x: jax.Array) -> jax.Array:
    wave = jnp.sin(2.0 * x[0] + 0.5) * jnp.cos(1.5 * x[1])
    return jnp.stack([wave, jnp.exp(0.5 * x[0]) * jnp.sin(2.0 * x[1]), wave * jnp.cos(x[-1])])[: x.size]


def _body_force(x: jax.Array) -> jax.Array:
    def sigma(x_):
        return from_mandel(CRYSTAL @ to_mandel(embedded(jax.jacfwd(_manufactured)(x_))))[: x.size, : x.size]
    return -jnp.einsum("ijj->i", jax.jacfwd(sigma)(x))


def _manufactured_error(element, n: int, distortion: float) -> float:
    mesh = _unit(element, n, distortion)
    component = component_of(mesh, Hooke(CRYSTAL), fixed_at(mesh, {"all": range(element.dim)}))
    over = lambda fn, x: jax.vmap(jax.vmap(fn))(x)
    force = jax.jit(lambda x: assemble_body_force(component.disc, over(_body_force, at_gauss(component.disc, x))))
    loads = loads_of(component, displacement=jax.vmap(_manufactured)(mesh.nodes), force=force(mesh.nodes))
    u = solve_component(component, loads).unwrap().displacement
    fine = discretise(mesh, rule=gauss_legendre(4, element.dim))
    gap = at_gauss(fine, u) - over(_manufactured, at_gauss(fine, mesh.nodes))
    return float(jnp.sqrt(jnp.sum(fine.weights[..., None] * gap**2)))


def _orders() -> list[Check]:
    rows = []
    # Serendipity elements keep their order on nearly affine cells only (Arnold, Boffi & Falk 2002).
    for element, sizes, distortion, order in ((Quad4(), (8, 16), 0.1, 2), (Quad8(), (6, 12), 0.0, 3),
                                              (Hex8(), (3, 6), 0.1, 2)):
        coarse, fine = (_manufactured_error(element, n, distortion) for n in sizes)
        found = float(np.log2(coarse / fine))
        rows.append(Check(f"manufactured solution, {type(element).__name__}: order in L2", found, order, "1", 0.2,
                          "interpolation theory"))
    return rows


def cases() -> list[Case]:
    """The reference cases of the finite elements."""
    return [
        Case("continuum", "patch test", _patch),
        Case("continuum", "plate with a hole", _kirsch),
        Case("continuum", "Cook's panel", _cook),
        Case("continuum", "Cook's panel at finite strain", _cook_finite),
        Case("continuum", "bar of springs", _bar),
        Case("continuum", "orders of convergence", _orders),
    ]

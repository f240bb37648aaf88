"""Orders of convergence on a manufactured solution, Kirsch's plate, Cook's panel against another code."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_helpers import name_of, sparse_solution, unit_mesh
from numpy.testing import assert_allclose

from hea_jax.continuum.laws import Hooke, IsotropicHooke
from hea_jax.continuum.mesh import (
    Hex8,
    Jacobi,
    Quad4,
    Quad8,
    Tri3,
    Tri6,
    assemble_body_force,
    at_gauss,
    boundary_facets,
    component_of,
    cooks_membrane,
    discretise,
    embedded,
    facet_points,
    fixed_at,
    gauss_legendre,
    loads_of,
    nearest_node,
    plate_with_hole,
    solve_component,
    traction_forces,
    with_sets,
)
from hea_jax.core.tensors import bulk_shear_from_young, cubic_stiffness, from_mandel, to_mandel

C = cubic_stiffness(2.46, 1.34, 0.287)
LINEAR = {Quad4: True, Tri3: True, Hex8: True, Quad8: False, Tri6: False}


def manufactured(x):
    """A smooth displacement that is no polynomial, (dim,) of a position (dim,)."""
    wave = jnp.sin(2.0 * x[0] + 0.5) * jnp.cos(1.5 * x[1])
    return jnp.stack([wave, jnp.exp(0.5 * x[0]) * jnp.sin(2.0 * x[1]), wave * jnp.cos(x[-1])])[: x.size]


def body_force(x):
    """−div σ of the manufactured displacement (GPa/length)."""
    def sigma(x_):
        return from_mandel(C @ to_mandel(embedded(jax.jacfwd(manufactured)(x_))))[: x.size, : x.size]
    return -jnp.einsum("ijj->i", jax.jacfwd(sigma)(x))


def error(element, n):
    """L2 norm of the displacement error on a distorted mesh of n elements per side."""
    # Quadratic elements keep their order on straight, nearly affine cells only (Arnold, Boffi & Falk 2002).
    mesh = unit_mesh(element, n, distortion=0.1 if LINEAR[type(element)] else 0.0, seed=n)
    boundary = with_sets(mesh, {"all": np.unique(boundary_facets(mesh))})
    component = component_of(mesh, Hooke(C), fixed_at(boundary, {"all": range(element.dim)}), inverse=Jacobi())
    disc = component.disc
    over = lambda fn, x: jax.vmap(jax.vmap(fn))(x)
    force = jax.jit(lambda x: assemble_body_force(disc, over(body_force, at_gauss(disc, x))))(mesh.nodes)
    u = sparse_solution(component, loads_of(component, displacement=jax.vmap(manufactured)(mesh.nodes), force=force))
    fine = disc if type(element) in (Tri3, Tri6) else discretise(mesh, rule=gauss_legendre(4, element.dim))

    @jax.jit
    def norm(u, x):
        gap = at_gauss(fine, u) - over(manufactured, at_gauss(fine, x))
        return jnp.sqrt(jnp.sum(fine.weights[..., None] * gap**2))
    return float(norm(u, mesh.nodes))


@pytest.mark.parametrize(("element", "sizes", "order"), [(Quad4(), (8, 16), 2), (Quad8(), (6, 12), 3),
                                                         (Tri3(), (8, 16), 2), (Tri6(), (6, 12), 3),
                                                         (Hex8(), (4, 8), 2)], ids=lambda v: name_of(v)
                         if hasattr(v, "exponents") else "")
def test_manufactured_solution(element, sizes, order):
    coarse, fine = (error(element, n) for n in sizes)
    assert abs(np.log2(coarse / fine) - order) < 0.2
    assert fine < 1e-2


def kirsch(x, y):
    """Stress (…, 3) xx, yy, xy around a hole of radius 1 under unit tension along x at infinity (Kirsch 1898)."""
    r2, t = x**2 + y**2, np.arctan2(y, x)
    a, b = 1 / r2, 1 / r2**2
    xx = 1 - a * (1.5 * np.cos(2 * t) + np.cos(4 * t)) + 1.5 * b * np.cos(4 * t)
    yy = -a * (0.5 * np.cos(2 * t) - np.cos(4 * t)) - 1.5 * b * np.cos(4 * t)
    xy = -a * (0.5 * np.sin(2 * t) + np.sin(4 * t)) + 1.5 * b * np.sin(4 * t)
    return np.stack([xx, yy, xy], axis=-1)


def kirsch_errors(n):
    """(relative error of the stress concentration, L2 error of the stress) of an n × n quarter plate."""
    mesh = plate_with_hole(1.0, (4.0, 4.0), (n, n), Quad8())
    law = IsotropicHooke(*(jnp.asarray(v) for v in bulk_shear_from_young(1.0, 0.3)))
    component = component_of(mesh, law, fixed_at(mesh, {"left": (0,), "bottom": (1,)}))
    force = 0.0
    for name in ("right", "top"):
        at, area = facet_points(mesh, name)
        s = kirsch(*np.moveaxis(np.asarray(at), -1, 0))
        tensor = np.stack([s[..., [0, 2]], s[..., [2, 1]]], axis=-2)
        normal = np.asarray(area) / np.linalg.norm(area, axis=-1, keepdims=True)
        force = force + traction_forces(mesh, name, jnp.asarray(np.einsum("fgij,fgj->fgi", tensor, normal)))
    u = sparse_solution(component, loads_of(component, force=force))
    top = nearest_node(mesh, (0.0, 1.0))
    corners = component_of(discretise(mesh, rule=(Quad8().nodes, np.zeros(8))), law, component.fixed, inverse=Jacobi())
    peak = np.asarray(eqx.filter_jit(corners.stress)(loads_of(corners), u))[..., 0, 0][np.asarray(mesh.cells) == top]
    disc = component.disc
    sigma = np.asarray(eqx.filter_jit(component.stress)(loads_of(component), u))
    exact = kirsch(*np.moveaxis(np.asarray(at_gauss(disc, mesh.nodes)), -1, 0))
    gap = np.stack([sigma[..., 0, 0], sigma[..., 1, 1], sigma[..., 0, 1]], axis=-1) - exact
    assert_allclose(sigma[..., 2, 2], 0.3 * (sigma[..., 0, 0] + sigma[..., 1, 1]), atol=1e-12)
    return abs(float(np.mean(peak)) - 3) / 3, float(jnp.sqrt(jnp.sum(disc.weights[..., None] * gap**2)))


def test_kirsch():
    """A hole triples the stress; under Kirsch's own tractions the whole stress field converges at second order."""
    (coarse_peak, coarse), (fine_peak, fine) = kirsch_errors(8), kirsch_errors(16)
    assert fine_peak < 5e-3
    assert fine_peak < coarse_peak
    assert np.log2(coarse / fine) > 1.8
    assert fine < 2e-2


def test_cook_against_scikit_fem():
    """scikit-fem 12.0.2, ElementQuad1 and ElementQuadS2, 8×8, plane strain of E = 15/16, ν = 1/4 (plane stress of
    E = 1, ν = 1/3), unit force on the right: mid-side deflection; the converged value is 23.96 (literature)."""
    law = IsotropicHooke(*(jnp.asarray(v) for v in bulk_shear_from_young(15 / 16, 0.25)))
    for element, expected in ((Quad4(), [-9.71263333, 22.07918339]), (Quad8(), [-10.64941734, 23.88374417])):
        mesh = cooks_membrane((8, 8), element)
        component = component_of(mesh, law, fixed_at(mesh, {"left": (0, 1)}))
        loads = loads_of(component, force=traction_forces(mesh, "right", jnp.asarray([0.0, 1 / 16])))
        sol = solve_component(component, loads)
        assert_allclose(sol.unwrap().displacement[nearest_node(mesh, (48, 52))], expected, atol=6e-9)

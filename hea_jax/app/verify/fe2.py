"""Reference cases of finite-strain RVEs and FE²: exact laminates, a single-scale membrane, finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from hea_jax.app.verify.rows import Case, Check
from hea_jax.concurrent.fe2_driver import MacroLoad, observed_order, solve_fe2
from hea_jax.continuum.finite_rve import finite_tangent, homogenize_finite
from hea_jax.continuum.grid import HEX8R
from hea_jax.continuum.laws import CubicNeoHooke, NeoHooke, crystal, grains
from hea_jax.continuum.mesh.component import component_of, loads_of
from hea_jax.continuum.mesh.elements import Quad4
from hea_jax.continuum.mesh.generators import cooks_membrane
from hea_jax.continuum.mesh.meshes import discretise, fixed_at, traction_forces
from hea_jax.continuum.mesh.solve import solve_component
from hea_jax.continuum.rve import RVE
from hea_jax.structures.polycrystal import voronoi_polycrystal

TWO_PHASES = NeoHooke(jnp.array([1.0, 8.0]), jnp.array([0.5, 4.0]))
LAYERS = RVE(jnp.arange(4).reshape(1, 1, 4) // 2, jnp.ones(3), HEX8R())
FINITE = jnp.array([[1.15, 0.08, 0.21], [-0.05, 0.93, 0.12], [0.04, -0.09, 1.1]])


def neo_hooke_stress(F, bulk, shear) -> np.ndarray:
    """P (3, 3) in GPa of a neo-Hookean solid, written out by hand (Simo & Hughes 1998, eq. 9.2.4); moduli in GPa."""
    J, H = np.linalg.det(F), np.linalg.inv(F).T
    return shear * J ** (-2 / 3) * (F - np.sum(F * F) / 3 * H) + 0.5 * bulk * (J**2 - 1) * H


def laminate_stress(F, bulk, shear, *, axis: int = 2) -> np.ndarray:
    """Exact P̄ (3, 3) in GPa of equal layers of two neo-Hookean phases, normal along ``axis``; moduli (2,) in GPa.

    The gradients differ by a rank-one jump a⊗N with continuous tractions (Ericksen 1975): three equations for a.
    """
    F, normal = np.asarray(F), np.eye(3)[axis]

    def stresses(a):
        jump = 0.5 * np.outer(a, normal)
        return [neo_hooke_stress(F + s * jump, k, g) for s, k, g in zip((1, -1), bulk, shear, strict=True)]
    root = scipy.optimize.root(lambda a: (stresses(a)[0] - stresses(a)[1]) @ normal, np.zeros(3), tol=1e-14)
    first, second = stresses(root.x)
    return 0.5 * (first + second)


def membrane(count: int, traction_GPa: float, lengths: float = 1.0):
    """Cook's membrane of ``count``² Quad4 in plane strain: (mesh, discretisation, load), a dead shear traction (GPa) on
    its right side; ``lengths`` scales 48 × 60 (any unit)."""
    mesh = cooks_membrane((count, count), Quad4(), scale=lengths)
    fixed = jnp.asarray(fixed_at(mesh, {"left": (0, 1)}))
    force = jnp.asarray(traction_forces(mesh, "right", jnp.array([0.0, traction_GPa])))
    return mesh, discretise(mesh), MacroLoad(fixed, jnp.zeros(force.shape), force)


def _laminate() -> list[Check]:
    P = homogenize_finite(LAYERS, TWO_PHASES, FINITE).unwrap().stress
    exact = laminate_stress(FINITE, TWO_PHASES.bulk, TWO_PHASES.shear)
    return [Check(f"neo-Hookean laminate, contrast 8: P{i + 1}{j + 1}", float(P[i, j]), float(exact[i, j]), "GPa",
                  1e-10, "exact rank-one jump (Ericksen 1975), SciPy root")
            for i, j in ((0, 0), (0, 2), (2, 0), (2, 2))]


def _polycrystal() -> tuple[RVE, CubicNeoHooke]:
    structure = voronoi_polycrystal(jax.random.key(0), grains=6, grid=(6, 6, 6))
    return RVE(structure.phases, jnp.ones(3), HEX8R()), grains(crystal(376.0, 196.0, 110.0), structure.rotations)


def _tangent() -> list[Check]:
    rve, law = _polycrystal()
    A = finite_tangent(rve, law, FINITE).unwrap()[2]
    stress = lambda F: finite_tangent(rve, law, F).unwrap()[1]
    step, worst = 1e-5, 0.0
    for i, j in ((0, 0), (0, 1), (2, 1)):
        unit = jnp.zeros((3, 3)).at[i, j].set(step)
        difference = (stress(FINITE + unit) - stress(FINITE - unit)) / (2 * step)
        worst = max(worst, float(jnp.max(jnp.abs(difference - A[:, :, i, j])) / jnp.max(jnp.abs(A))))
    return [Check("polycrystal 6³, finite strain: consistent tangent, largest relative error", worst, 0.0, "1", 1e-6,
                  "central differences of the re-solved RVE")]


def _homogeneous_membrane() -> list[Check]:
    mesh, disc, load = membrane(2, 0.05)
    law = NeoHooke(jnp.full(2, 2.0), jnp.full(2, 1.0))
    sol = solve_fe2(disc, LAYERS, law, load, steps=2, rtol=1e-11)
    single = component_of(mesh, NeoHooke(jnp.asarray(2.0), jnp.asarray(1.0)), load.fixed)
    direct = solve_component(single, loads_of(single, force=load.force)).unwrap()
    tip = int(np.argmax(np.sum(np.asarray(mesh.nodes), axis=1)))
    return [Check(f"Cook's membrane, homogeneous RVEs: tip u{i + 1}", float(sol.unwrap().state.u[tip, i]),
                  float(direct.displacement[tip, i]), "length", 1e-8, "single-scale finite elements, same mesh")
            for i in range(2)]


def _newton_order() -> list[Check]:
    rve, law = _polycrystal()
    _, disc, load = membrane(2, 40.0)
    sol = solve_fe2(disc, rve, law, load, steps=1, rtol=1e-9, micro_tolerance=1e-11)
    sol.unwrap()
    order = observed_order(sol.stats["residual"])
    return [Check("Cook's membrane, polycrystal RVEs: Newton order short of 2", max(0.0, 2 - order), 0.0, "1", 0.2,
                  "quadratic convergence with a consistent tangent")]


def cases() -> list[Case]:
    """The reference cases of finite-strain RVEs and FE²."""
    return [Case("concurrent", "finite-strain laminate", _laminate),
            Case("concurrent", "finite-strain tangent of a polycrystal", _tangent),
            Case("concurrent", "FE2 with homogeneous RVEs", _homogeneous_membrane),
            Case("concurrent", "FE2 Newton order", _newton_order)]

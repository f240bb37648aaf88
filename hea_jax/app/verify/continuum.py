"""Reference cases of the continuum: exact laminates, other codes' spheres, boundary conditions, bounds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.verify.rows import Case, Check
from hea_jax.continuum.boundary import KinematicUniform, Periodic, StaticUniform
from hea_jax.continuum.bounds import cubic_polycrystal, phase_fractions, placement, reuss, voigt
from hea_jax.continuum.grid import HEX8R
from hea_jax.continuum.hill_mandel import hill_mandel
from hea_jax.continuum.homogenise import effective_stiffness, homogenize
from hea_jax.continuum.laws import Hooke, IsotropicHooke, rotated
from hea_jax.continuum.rve import rve_of
from hea_jax.core.krylov import CG
from hea_jax.core.tensors import bulk_shear_from_young, cubic_stiffness, isotropic_projection, voigt_from_mandel
from hea_jax.structures.composites import cubic_sphere, laminate
from hea_jax.structures.polycrystal import voronoi_polycrystal

FANS = "FANS (DataAnalyticsEngineering), 32³, residual 1e-6"
WILLOT = "three independent rotated-scheme codes, 33³, residual 1e-6"
REFERENCE = CG(rtol=1e-6, probe=0)
TIGHT = CG(rtol=1e-12, probe=0)
BOUNDARIES = {"KUBC": KinematicUniform(), "PBC": Periodic(), "SUBC": StaticUniform()}


def _two_phase(contrast: float) -> IsotropicHooke:
    return IsotropicHooke(*bulk_shear_from_young(jnp.array([1.0, contrast]), 0.3))


def _laminate() -> list[Check]:
    C = voigt_from_mandel(effective_stiffness(rve_of(laminate((2, 2, 4))), _two_phase(10.0), linear=TIGHT).unwrap())
    exact = {"C11": (0, 0, 6.493506), "C12": (0, 1, 2.262737), "C13": (0, 2, 1.048951), "C33": (2, 2, 2.447552),
             "C44": (3, 3, 0.699301), "C66": (5, 5, 2.115385)}
    return [Check(f"laminate 50/50, E 1/10, {name}", float(C[i, j]), value, "GPa", 5e-7, "exact (Backus 1962)")
            for name, (i, j, value) in exact.items()]


def _sphere(contrast: float, moduli: tuple[float, float, float], iterations: tuple[int, int]) -> list[Check]:
    sol = effective_stiffness(rve_of(cubic_sphere((32,) * 3)), _two_phase(contrast), linear=REFERENCE)
    C, counts = voigt_from_mandel(sol.unwrap()), sol.stats["linear_iterations"]
    name = f"sphere 32³ HEX8, contrast {contrast:g}"
    return [Check(f"{name}, C11", float(C[0, 0]), moduli[0], "GPa", 1.5e-6, FANS),
            Check(f"{name}, C12", float(C[0, 1]), moduli[1], "GPa", 1.5e-6, FANS),
            Check(f"{name}, C44", float(C[3, 3]), moduli[2], "GPa", 1e-5, FANS),
            Check(f"{name}, CG iterations for E11", float(counts[0]), iterations[0], "iterations", 0, FANS),
            Check(f"{name}, CG iterations for shear", float(counts[3]), iterations[1], "iterations", 0, FANS)]


def _reduced(contrast: float, moduli: tuple[float, float], iterations: int) -> list[Check]:
    # The published sphere holds the voxel centres closer than 12 voxels: radius .363, not .365, of the cell.
    rve = rve_of(cubic_sphere((33,) * 3, radius=0.363), quadrature=HEX8R())
    sol = effective_stiffness(rve, _two_phase(contrast), linear=REFERENCE)
    C = voigt_from_mandel(sol.unwrap())
    name = f"sphere 33³ HEX8R, contrast {contrast:g}"
    return [Check(f"{name}, C11", float(C[0, 0]), moduli[0], "GPa", 1.5e-6, WILLOT),
            Check(f"{name}, C12", float(C[0, 1]), moduli[1], "GPa", 1.5e-6, WILLOT),
            Check(f"{name}, CG iterations for E11", float(sol.stats["linear_iterations"][0]), iterations, "iterations",
                  0, WILLOT)]


def _boundary_order() -> list[Check]:
    rve, law = rve_of(cubic_sphere((16,) * 3)), _two_phase(10.0)
    C = {name: effective_stiffness(rve, law, boundary=b).unwrap() for name, b in BOUNDARIES.items()}
    sources = {"KUBC": (2.000676, "felupe, torch-fem"), "PBC": (1.97452, "FANS, FEAX"),
               "SUBC": (1.832340, "prototype of PHYSICS.md §6, minimal kinematic constraint")}
    rows = [Check(f"sphere 16³, contrast 10, C11 {name}", float(voigt_from_mandel(C[name])[0, 0]), value, "GPa", 2e-6,
                  source) for name, (value, source) in sources.items()]
    for upper, lower in itertools.pairwise(BOUNDARIES):
        # The whole quadratic form: how far the smallest eigenvalue of the difference falls below zero.
        smallest = float(jnp.linalg.eigvalsh(C[upper] - C[lower])[0])
        rows.append(Check(f"{lower} <= {upper}: violation", max(0.0, -smallest), 0.0, "GPa", 0.0,
                          "nested subspaces (Huet 1990)"))
    return rows


def _hill_mandel() -> list[Check]:
    rve, law = rve_of(cubic_sphere((8,) * 3)), _two_phase(10.0)
    strain, rows = jnp.array([0.01, -0.02, 0.005, 0.01, 0.004, 0.03]), []
    for name, boundary in BOUNDARIES.items():
        u = homogenize(rve, law, strain, boundary=boundary, linear=TIGHT).unwrap().displacement
        check = hill_mandel(rve, law, strain, u, boundary=boundary)
        rows.append(Check(f"Hill-Mandel {name}: |surface - volume|/volume", float(check.relative), 0.0, "1", 1e-10,
                          "Hill 1963"))
    return rows


def _cubic_bounds() -> list[Check]:
    crystals = {"Cu": ((168.4, 121.4, 75.4), (40.03, 45.96, 48.17, 49.45, 54.64)),
                "Nb": ((246.0, 134.0, 28.7), (35.65, 37.44, 37.68, 38.00, 39.62)),
                "Mo": ((463.7, 157.8, 109.2), (123.31, 124.92, 125.01, 125.15, 126.70))}
    names = ("Reuss", "Hashin-Shtrikman lower", "self-consistent", "Hashin-Shtrikman upper", "Voigt")
    rows = []
    for crystal, (constants, shear) in crystals.items():
        p = cubic_polycrystal(*constants)
        values = (p.reuss, p.hs_lower, p.self_consistent, p.hs_upper, p.voigt)
        source = "Hashin & Shtrikman 1962; Kröner 1958"
        rows += [Check(f"{crystal} polycrystal G {name}", float(v), r, "GPa", 0.006, source)
                 for name, v, r in zip(names, values, shear, strict=True)]
    return rows


def _polycrystal() -> list[Check]:
    grains = 24
    structure = voronoi_polycrystal(jax.random.key(0), grains=grains, grid=(16, 16, 16))
    law = rotated(Hooke(cubic_stiffness(168.4, 121.4, 75.4)), structure.rotations)
    C = effective_stiffness(rve_of(structure), law).unwrap()
    fractions = phase_fractions(structure.phases, grains)
    place = placement(C, reuss(law.stiffness, fractions), voigt(law.stiffness, fractions))
    K, G = isotropic_projection(C)
    p = cubic_polycrystal(168.4, 121.4, 75.4)
    violation = max(0.0, -float(place.lower_margin), -float(place.upper_margin))
    return [Check("Cu polycrystal, 24 grains: K", float(K), float(p.bulk), "GPa", 1e-6, "exact (Hill 1952)"),
            Check("Cu polycrystal, 24 grains: outside Voigt-Reuss by", violation, 0.0, "GPa", 0.0, "Hill 1952"),
            Check("Cu polycrystal, 24 grains: G near self-consistent", float(G), float(p.self_consistent), "GPa",
                  float(p.voigt - p.reuss) / 4, "Kröner 1958 (finite sample: a quarter of the Voigt-Reuss gap)")]


def _gradient() -> list[Check]:
    structure = voronoi_polycrystal(jax.random.key(1), grains=20, grid=(8, 8, 8))
    rve = rve_of(structure)

    @jax.jit
    def shear(cubic):
        law = rotated(Hooke(cubic_stiffness(*cubic)), structure.rotations)
        return isotropic_projection(effective_stiffness(rve, law, linear=TIGHT).value)[1]
    at, rows = jnp.array([168.4, 121.4, 75.4]), []
    slope = jax.jit(jax.grad(shear))(at)
    for name, s, e in zip(("C11", "C12", "C44"), np.asarray(slope), jnp.eye(3), strict=True):
        difference = float(shear(at + 1e-3 * e) - shear(at - 1e-3 * e)) / 2e-3
        rows.append(Check(f"polycrystal dG/d{name}", float(s), difference, "1", 1e-6 * abs(difference),
                          "central differences of the whole solve"))
    return rows


def cases() -> list[Case]:
    """The reference cases of the continuum."""
    return [
        Case("continuum", "laminate", _laminate),
        Case("continuum", "sphere of FANS, contrast 10",
             lambda: _sphere(10.0, (1.931655, 0.728431, 0.53511), (16, 17))),
        Case("continuum", "sphere of FANS, contrast 1000",
             lambda: _sphere(1000.0, (2.146627, 0.735555, 0.58120), (26, 27))),
        Case("continuum", "reduced integration, contrast 10", lambda: _reduced(10.0, (1.885040, 0.721114), 17)),
        Case("continuum", "reduced integration, contrast 1000", lambda: _reduced(1000.0, (2.062778, 0.730380), 34)),
        Case("continuum", "three boundary conditions", _boundary_order),
        Case("continuum", "Hill-Mandel", _hill_mandel),
        Case("continuum", "cubic polycrystal bounds", _cubic_bounds),
        Case("continuum", "Voronoi polycrystal", _polycrystal),
        Case("continuum", "gradient of a polycrystal modulus", _gradient),
    ]

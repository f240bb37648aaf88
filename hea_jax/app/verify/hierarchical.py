"""Reference cases of hierarchical coupling: scale separation, and what atoms hand to the mesoscale."""

import jax.numpy as jnp
import numpy as np

from hea_jax.app.verify.rows import Case, Check
from hea_jax.core.units import BOLTZMANN_EV_PER_K
from hea_jax.hierarchical.anneal import relaxation_rates
from hea_jax.hierarchical.atoms_to_grains import boundary_mobility
from hea_jax.hierarchical.separation import Verdict, separate_scales
from hea_jax.records import AtomisticProperties


def _separation() -> list[Check]:
    found = separate_scales(component_nm=1e6, rve_nm=100.0, heterogeneity_nm=5.0)
    tight = separate_scales(component_nm=300.0, rve_nm=100.0, heterogeneity_nm=5.0)
    source = "Geers et al. 2010"
    return [
        Check("1 mm, 100 nm, 5 nm: L_RVE/L", found.epsilon, 1e-4, "1", 1e-16, source),
        Check("1 mm, 100 nm, 5 nm: xi/L_RVE", found.heterogeneity_ratio, 0.05, "1", 1e-15, source),
        Check(f"1 mm, 100 nm, 5 nm: verdict {found.verdict.value}", float(found.verdict is Verdict.HIERARCHICAL), 1.0,
              "1 if hierarchical", 0.0, source),
        Check(f"300 nm, 100 nm, 5 nm: verdict {tight.verdict.value}", float(tight.verdict is Verdict.CONCURRENT), 1.0,
              "1 if concurrent", 0.0, "no RVE size is both representative and small"),
    ]


def _binary(omega: float, c: float) -> AtomisticProperties:
    """A regular solution of two elements with different diffusivities; the other fields do not matter here."""
    one, pair = jnp.ones(1), jnp.array([[0.0, omega], [omega, 0.0]])
    return AtomisticProperties(
        composition=jnp.array([c, 1 - c]), temperatures_K=1000 * one, lattice_constants_A=3.2 * one,
        lattice_constants_stderr_A=0 * one, elastic_constants_GPa=jnp.ones((1, 3)),
        elastic_constants_stderr_GPa=jnp.zeros((1, 3)), elastic_slopes_GPa=jnp.zeros((3, 2)),
        elastic_slopes_stderr_GPa=jnp.zeros((3, 2)), interactions_eV=pair, interactions_stderr_eV=0 * pair,
        diffusion_prefactors_nm2_per_s=jnp.array([5e13, 1e13]), diffusion_energies_eV=jnp.array([4.0, 4.2]),
        gradient_coefficient_GPa_nm2=jnp.array(0.1), boundary_energy_J_per_m2=jnp.array(1.0),
        boundary_diffusion_nm3_per_s=jnp.array(5.5e13), boundary_diffusion_energy_eV=jnp.array(2.73),
        elements=("A", "B"))


def _diffusion() -> list[Check]:
    """Waves of a binary decay with the interdiffusivity (c₂D₁ + c₁D₂)(1 − 2Ωc₁c₂/kT)."""
    T, wavelength, c = 1800.0, 2e4, 0.3
    kT = BOLTZMANN_EV_PER_K * T
    D1, D2 = 5e13 * np.exp(-4.0 / kT), 1e13 * np.exp(-4.2 / kT)
    rows = []
    for omega in (0.0, -0.4, 0.2):
        exact = (2 * np.pi / wavelength) ** 2 * ((1 - c) * D1 + c * D2) * (1 - 2 * omega * c * (1 - c) / kT)
        found = float(relaxation_rates(_binary(omega, c), T, wavelength)[0])
        rows.append(Check(f"binary wave, interaction {omega:g} eV: decay rate", found, exact, "1/s", 1e-9 * exact,
                          "Darken 1948"))
    return rows


def _boundary_mobility() -> list[Check]:
    """Turnbull's mobility in SI units: δD Ω/(b² kT) at 1000 K, a = 3.2 Å."""
    k, T, a = 1.380649e-23, 1000.0, 3.2e-10
    exact = 5.5e-14 * np.exp(-2.73 / (BOLTZMANN_EV_PER_K * T)) * (a**3 / 2) / (0.75 * a**2 * k * T) * 1e18
    return [Check("grain-boundary mobility at 1000 K", float(boundary_mobility(_binary(0.0, 0.5), T)), exact,
                  "nm/(s GPa)", 1e-9 * exact, "Turnbull 1951")]


def cases() -> list[Case]:
    """The reference cases of hierarchical coupling."""
    return [Case("hierarchical", "scale separation", _separation),
            Case("hierarchical", "interdiffusion of a binary", _diffusion),
            Case("hierarchical", "mobility of grain boundaries", _boundary_mobility)]

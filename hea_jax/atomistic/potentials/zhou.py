"""The analytic embedded-atom potential of Zhou, Johnson & Wadley for sixteen metals and all their alloys.

    f_a(r)  = f_e e^{−β(x − 1)} / [1 + (x − λ)²⁰],   x = r / r_e
    φ_aa(r) = A e^{−α(x − 1)} / [1 + (x − κ)²⁰] − B e^{−β(x − 1)} / [1 + (x − λ)²⁰]
    φ_ab(r) = ½ [f_b/f_a φ_aa + f_a/f_b φ_bb]
    F(ρ)    = Σ_m F_nm (ρ/ρ_n − 1)^m   for ρ < ρ_n = 0.85 ρ_e (Pt: 0.25 ρ_e),
              Σ_m F_m (ρ/ρ_e − 1)^m    for ρ_n ≤ ρ < 1.15 ρ_e,
              F_e [1 − η ln(ρ/ρ_s)] (ρ/ρ_s)^η   beyond.

The published functions have no cut-off: tables end them by a step, at √5 times the largest r_e in the tables of LAMMPS'
``eam_database``. Here f and φ are multiplied by the C³ ``switch``, which falls from 1 at ``onset_fraction`` times the
cut-off to 0 at the cut-off; by default it leaves the first four shells of fcc and five of bcc at r_e untouched.
The pieces of F meet within 1e-6 eV with equal slopes (second derivatives jump), and F(0) vanishes within 1e-6 eV, as
published.

Source: Zhou, Johnson & Wadley 2004; the alloy rule is Johnson 1989.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.atomistic.potentials.eam import AbstractEAM
from hea_jax.atomistic.potentials.pair import switch
from hea_jax.atomistic.potentials.zhou_parameters import PARAMETERS

UPPER_JOIN = 1.15
"""ρ/ρ_e where the last piece of F begins."""
COLUMNS = {
    "r_e": 0, "f_e": 1, "rho_e": 2, "rho_s": 3, "alpha": 4, "beta": 5, "A": 6, "B": 7, "kappa": 8, "lam": 9,
    "F_n": slice(10, 14), "F": slice(14, 18), "eta": 18, "F_e": 19,
}
"""Where the leaves stand in a row of ``zhou_parameters``; the last entry is ρ_n/ρ_e."""


class ZhouEAM(AbstractEAM):
    """Zhou–Johnson–Wadley EAM; build it with ``ZhouEAM.of(elements)``.

    Leaves, one entry per element: ``r_e`` (Å), ``f_e``, ``rho_e``, ``rho_s`` (densities), ``alpha``, ``beta``,
    ``kappa``, ``lam``, ``eta`` (dimensionless), ``A``, ``B``, ``F_e`` (eV), and ``F_n``, ``F`` (element, 4) in eV.
    Changed one by one they open steps in F at its joins. Static: ``elements``, ``cutoff`` (Å), ``lower_join`` (ρ_n/ρ_e
    per element), ``onset_fraction``.
    """

    r_e: Float[Array, "element"]
    f_e: Float[Array, "element"]
    rho_e: Float[Array, "element"]
    rho_s: Float[Array, "element"]
    alpha: Float[Array, "element"]
    beta: Float[Array, "element"]
    A: Float[Array, "element"]
    B: Float[Array, "element"]
    kappa: Float[Array, "element"]
    lam: Float[Array, "element"]
    F_n: Float[Array, "element 4"]
    F: Float[Array, "element 4"]
    eta: Float[Array, "element"]
    F_e: Float[Array, "element"]
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    lower_join: tuple[float, ...] = eqx.field(static=True)
    onset_fraction: float = eqx.field(static=True, default=0.9)

    @classmethod
    def of(cls, elements: Sequence[str], *, cutoff: float | None = None, onset_fraction: float = 0.9) -> "ZhouEAM":
        """The published potential of these elements (eV, Å); ``cutoff`` (Å) is √5 times the largest r_e by default.

        Raises ``ValueError`` for an element that was not published, or a cut-off that is not positive.
        """
        missing = [element for element in elements if element not in PARAMETERS]
        if missing or not elements:
            raise ValueError(f"no parameters for {', '.join(missing) or 'no element'}: choose among "
                             f"{', '.join(PARAMETERS)}")
        return cls.from_rows(elements, [PARAMETERS[element] for element in elements], cutoff=cutoff,
                             onset_fraction=onset_fraction)

    @classmethod
    def from_rows(cls, elements: Sequence[str], rows: Sequence[Sequence[float]], *, cutoff: float | None = None,
                  onset_fraction: float = 0.9) -> "ZhouEAM":
        """The potential of parameters of one's own (eV, Å), one row per element in the order of ``zhou_parameters``.

        Raises ``ValueError`` for rows that are not 21 numbers, or a bad cut-off.
        """
        table = np.array([tuple(row) for row in rows], float)
        if table.shape != (len(elements), 21):
            raise ValueError(f"give 21 parameters for each of {tuple(elements)}, got shape {table.shape}")
        reach = 5**0.5 * float(table[:, 0].max()) if cutoff is None else float(cutoff)
        if not (reach > 0 and 0 < onset_fraction < 1):
            raise ValueError(f"cutoff (Å) must be positive and onset_fraction in (0, 1), got {reach}, {onset_fraction}")
        leaves = {name: jnp.asarray(table[:, place]) for name, place in COLUMNS.items()}
        return cls(**leaves, elements=tuple(elements), cutoff=reach, lower_join=tuple(table[:, 20].tolist()),
                   onset_fraction=onset_fraction)

    def radial(self, r, i, j):
        """(φ_ij, ρ_ij, ρ_ji) at distances r (Å); see ``AbstractEAM.radial``."""
        f_i, phi_i = self._pure(r, i)
        f_j, phi_j = self._pure(r, j)
        cut = switch(r, self.onset_fraction * self.cutoff, self.cutoff)
        return 0.5 * (f_j / f_i * phi_i + f_i / f_j * phi_j) * cut, f_j * cut, f_i * cut

    def embedding(self, density, species):
        """F_a(ρ) in eV."""
        rho_e = self.rho_e[species]
        rho_n = jnp.asarray(self.lower_join, density.dtype)[species] * rho_e
        low = _cubic(self.F_n[species], density / rho_n - 1.0)
        middle = _cubic(self.F[species], density / rho_e - 1.0)
        beyond = density >= UPPER_JOIN * rho_e
        # The logarithm must see no zero, not even where it is not used: derivatives would.
        logarithm = self.eta[species] * jnp.log(jnp.where(beyond, density, rho_e) / self.rho_s[species])
        high = self.F_e[species] * (1.0 - logarithm) * jnp.exp(logarithm)
        return jnp.where(beyond, high, jnp.where(density < rho_n, low, middle))

    def _pure(self, r, a):
        """(f, φ) of the pure metal, not cut."""
        x = r / self.r_e[a]
        repulsion = jnp.exp(-self.alpha[a] * (x - 1.0)) / (1.0 + (x - self.kappa[a]) ** 20)
        attraction = jnp.exp(-self.beta[a] * (x - 1.0)) / (1.0 + (x - self.lam[a]) ** 20)
        return self.f_e[a] * attraction, self.A[a] * repulsion - self.B[a] * attraction


def _cubic(coefficients, x):
    c0, c1, c2, c3 = (coefficients[..., m] for m in range(4))
    return c0 + x * (c1 + x * (c2 + x * c3))

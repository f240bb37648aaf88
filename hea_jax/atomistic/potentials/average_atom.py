"""The average atom of an alloy: one species that stands for a random solution of given composition.

    φ_AA = Σ_XY c_X c_Y φ_XY,   φ_AX = Σ_Y c_Y φ_YX,   ρ_A = Σ_X c_X ρ_X,   F_A = Σ_X c_X F_X

Where a lattice is perfect and random, the pair energy is the ensemble mean exactly, the embedding energy up to the
fluctuations of the density, ½ F″ var(ρ̄). True atoms X in a matrix of A give misfit volumes.

Source: Varvenne, Luque, Nöhring & Curtin 2016 (Phys. Rev. B 93, 104201).
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from hea_jax.atomistic.potentials.eam import AbstractEAM
from hea_jax.atomistic.potentials.finnis_sinclair import FinnisSinclair

AVERAGE = "A"
"""The symbol of the average atom."""


class AverageAtom(AbstractEAM):
    """The EAM of true atoms and the average atom of a composition; build it with ``AverageAtom.of``.

    Leaves: those of ``base`` and ``composition`` (element of ``base``,), fractions that should sum to one: a gradient
    with respect to them moves off the simplex, so project it. Static: ``elements``, the kept ones and last "A";
    ``kept``, where these stand in ``base``. ``cutoff`` (Å) is that of ``base``.
    """

    base: AbstractEAM
    composition: Float[Array, "element"]
    elements: tuple[str, ...] = eqx.field(static=True)
    kept: tuple[int, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)

    @classmethod
    def of(cls, base: AbstractEAM, composition: Float[Array, "element"], *, keep: Sequence[str] = ()) -> "AverageAtom":
        """The average atom of ``base`` (eV, Å) at ``composition``, beside the true elements ``keep``.

        Raises ``ValueError`` for a composition of another length or (outside ``jit`` and ``grad``) of another sum, for
        elements that ``base`` does not know or that stand twice, and for a potential whose density depends on the
        species of the site (Finnis–Sinclair with one density per ordered pair): it would need several densities.
        """
        if isinstance(base, FinnisSinclair):
            raise ValueError("an average atom needs densities that do not depend on the species of their site; this "
                             "potential has one per ordered pair: use an eam.alloy potential")
        if jnp.shape(composition) != (len(base.elements),):
            raise ValueError(f"composition must have one fraction for each of {base.elements}, got shape "
                             f"{jnp.shape(composition)}")
        if not isinstance(composition, Tracer) and abs(float(jnp.sum(composition)) - 1.0) > 1e-6:
            raise ValueError(f"the fractions of a composition sum to one, got {np.asarray(composition).tolist()}")
        wrong = [element for element in keep if element not in base.elements]
        if wrong or len(set(keep)) != len(keep) or AVERAGE in keep:
            raise ValueError(f"keep must be distinct elements of {base.elements} (not {AVERAGE!r}), got {tuple(keep)}")
        return cls(base=base, composition=jnp.asarray(composition), elements=(*keep, AVERAGE),
                   kept=tuple(base.elements.index(element) for element in keep), cutoff=float(base.cutoff))

    def radial(self, r, i, j):
        """(φ_ij, ρ_ij, ρ_ji) at distances r (Å); see ``AbstractEAM.radial``."""
        n = len(self.base.elements)
        X, Y = (jnp.asarray(index) for index in np.triu_indices(n))
        phi, rho_Y, _ = jax.vmap(lambda a, b: self.base.radial(r, jnp.full_like(i, a), jnp.full_like(j, b)))(X, Y)
        weights = self._weights(r.dtype)
        w_i, w_j = weights[:, i], weights[:, j]
        # A pair of unlike species stands once in the list, in either order.
        both = w_i[X] * w_j[Y] + jnp.where((X != Y)[:, None, None], w_i[Y] * w_j[X], 0.0)
        # The first n pairs are (0, 0) … (0, n − 1): the densities of all elements.
        density = rho_Y[:n]
        return jnp.sum(both * phi, axis=0), jnp.sum(w_j * density, axis=0), jnp.sum(w_i * density, axis=0)

    def embedding(self, density, species):
        """F in eV: of the true elements as they are, of the average atom Σ c_X F_X."""
        each = jax.vmap(lambda a: self.base.embedding(density, jnp.full_like(species, a)))
        F = each(jnp.arange(len(self.base.elements)))
        return jnp.sum(self._weights(density.dtype)[:, species] * F, axis=0)

    def _weights(self, dtype) -> Float[Array, "element own"]:
        """How much of each element of ``base`` (row) is in each of ours (column)."""
        true = jnp.asarray(np.eye(len(self.base.elements))[:, list(self.kept)], dtype)
        return jnp.concatenate([true, self.composition[:, None].astype(dtype)], axis=1)

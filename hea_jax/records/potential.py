"""The interface of an interatomic potential."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from hea_jax.records.atoms import Atoms, Neighbours


class AbstractPotential(eqx.Module):
    """An interatomic potential; parameters are array leaves, structure is static.

    ``cutoff`` in Å and ``elements`` are static. Energy, forces, stress and elastic constants follow from
    ``atomic_energies`` by autodiff (``hea_jax.atomistic``).
    """

    cutoff: eqx.AbstractVar[float]
    elements: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV); their sum is the total energy. ``atoms.elements`` must equal ``self.elements``."""

"""Energy functions of jax-md as potentials here, and potentials of ours as energy functions there.

Neighbours are ours in both directions, so that any cell is exact: triclinic, below twice the cut-off, strained. jax-md
drops image pairs of small cells without a flag and loses pairs in shrinking ones; its lists are not used.

Into this package: a jax-md function sees every bond as a pair with an own copy of the neighbour ("ghost") at its image
position, in free space. Into jax-md: tables are made by ``allocate``; ``update`` cannot remake them under ``jit`` but
says when they no longer do (``did_buffer_overflow``), and the energy is NaN then. jax-md is imported when used (15 s).

Source: Schoenholz & Cubuk 2020 (jax-md).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.neighbours import neighbour_table, skin_exceeded, widened
from hea_jax.atomistic.properties import energy
from hea_jax.core.types import Flag
from hea_jax.records import AbstractPotential, Atoms, Neighbours, pair_vectors


class PairFunction(AbstractPotential):
    """E = ½ Σ ``function(r, **parameters)``: a jax-md pair function (``jax_md.energy.morse``, …) of distances.

    ``function`` takes r (Å) of any shape and keyword arguments of the same shape and gives eV; ``parameters`` are
    leaves, numbers or matrices (element, element), symmetric. Pairs from ``cutoff`` (Å) on are left out, sharply: where
    that must be smooth, wrap the function (``jax_md.energy.multiplicative_isotropic_cutoff``).
    """

    parameters: dict[str, Array]
    function: Callable = eqx.field(static=True)
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV); half of each bond goes to either end."""
        r = jnp.linalg.norm(pair_vectors(atoms, pairs), axis=-1)
        inside = r < self.cutoff
        kind = (atoms.species[:, None], atoms.species[pairs.index])
        chosen = {name: value[kind] if jnp.ndim(value) == 2 else value for name, value in self.parameters.items()}
        # A distance within the cut-off stands in beyond it: 0 · inf would be NaN.
        phi = self.function(jnp.where(inside, r, 0.9 * self.cutoff), **chosen)
        return 0.5 * jnp.sum(jnp.where(inside, phi, 0.0), axis=-1)


class JaxMDPotential(AbstractPotential):
    """``energy_fn(R, neighbor=…, species=…, **parameters)`` of jax-md, built with ``jax_md.space.free()[0]``; eV, Å.

    ``cutoff`` (Å) is at least that of the function; pairs beyond it are not passed on. ``species`` are indices into
    ``elements``; ``parameters`` are leaves. A function made with ``per_particle=True`` gives energies per atom; of one
    that gives a total, each atom gets an equal share (derivatives of the total are exact).

    With ``bonds`` the function gets a list of bonds (jax-md's sparse format), right for pair functions. Without, it
    gets dense rows, which functions of angles and densities need: exact where the energy of an atom depends on its own
    neighbours only (a graph network of several layers does not), at k times the cost, since ghosts have rows too.

    jax-md rounds constants such as cut-offs to single precision, which shows in the eighth digit of an energy.
    """

    energy_fn: Callable = eqx.field(static=True)
    parameters: dict[str, Array]
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    bonds: bool = eqx.field(static=True, default=True)

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV), or an equal share of the total."""
        n = atoms.number
        R, species, inside = _with_ghosts(atoms, pairs, self.cutoff)
        if self.bonds:
            values = self.energy_fn(R, neighbor=_bond_list(R, inside), species=species, **self.parameters)
            return values[:n] if jnp.ndim(values) else jnp.full(n, values / n)
        idx = _dense_rows(inside, len(R))
        values = self.energy_fn(R, neighbor=_dense_list(R, idx), species=species, **self.parameters)
        if jnp.ndim(values):
            return values[:n]
        # Ghosts count as atoms alone in a total.
        rest = jnp.where(idx[n:] < len(R), idx[n:] - n, len(R) - n)
        alone = self.energy_fn(R[n:], neighbor=_dense_list(R[n:], rest), species=species[n:], **self.parameters)
        return jnp.full(n, (values - alone) / n)


def _with_ghosts(atoms, pairs, cutoff):
    """Positions of atoms, of one ghost per bond and of two far points; their species; which bonds are within reach."""
    vectors = pair_vectors(atoms, pairs)
    inside = pairs.mask & (jnp.sum(vectors**2, axis=-1) < cutoff**2)
    # jax-md computes masked pairs as well, with the last point: no distance may be zero there.
    step = jnp.array([pairs.cutoff + pairs.skin + 1.0, 0.0, 0.0], vectors.dtype)
    last = jax.lax.stop_gradient(jnp.min(atoms.positions, axis=0)) - 3.0 * step
    ghosts = jnp.where(inside[..., None], atoms.positions[:, None] + vectors, last - step)
    R = jnp.concatenate([atoms.positions, ghosts.reshape(-1, 3), jnp.stack([last - step, last])])
    kinds = [atoms.species, atoms.species[pairs.index].reshape(-1), jnp.zeros(2, atoms.species.dtype)]
    return R, jnp.concatenate(kinds), inside


def _bond_list(R, inside):
    """Bonds (atom, ghost) as a jax-md list; an entry out of range is masked."""
    from jax_md import partition

    n, k = inside.shape
    start = jnp.where(inside, jnp.arange(n, dtype=jnp.int32)[:, None], len(R)).reshape(-1)
    return _list(R, jnp.stack([start, n + jnp.arange(n * k, dtype=jnp.int32)]), partition.Sparse)


def _dense_rows(inside, number):
    """Rows of neighbours (number, k): atoms see their ghosts, ghosts nobody, the last point the one before it."""
    n, k = inside.shape
    ghosts = n + jnp.arange(n * k, dtype=jnp.int32).reshape(n, k)
    rows = jnp.full((number, k), number, jnp.int32).at[:n].set(jnp.where(inside, ghosts, number))
    return rows.at[-1].set(number - 2)


def _dense_list(R, idx):
    from jax_md import partition

    return _list(R, idx, partition.Dense)


def _list(R, idx, form):
    from jax_md import partition

    make: Any = partition.NeighborList
    error: Any = partition.PartitionError
    return make(idx, R, error(jnp.zeros((), jnp.uint8)), None, idx.shape[-1], form, None, None, None)


class JaxMDTable(eqx.Module):
    """A neighbour table in the place of jax-md's ``NeighborList``; ``did_buffer_overflow``: allocate a new one."""

    pairs: Neighbours
    reference: Atoms
    did_buffer_overflow: Flag
    configure: Callable = eqx.field(static=True)

    def update(self, R, **kwargs) -> "JaxMDTable":
        """The same table, ``did_buffer_overflow`` set once it may miss a pair at R (units of the simulation)."""
        moved = self.configure(R, self.reference, **kwargs)
        lost = self.did_buffer_overflow | skin_exceeded(self.reference, moved, self.pairs)
        return JaxMDTable(self.pairs, self.reference, lost, self.configure)


class JaxMDNeighbours(NamedTuple):
    """``allocate(R, extra_capacity=0, **kwargs)`` on the host, ``update(R, table, **kwargs)`` anywhere."""

    allocate: Callable[..., JaxMDTable]
    update: Callable[..., JaxMDTable]


def as_jax_md_energy(potential: AbstractPotential, atoms: Atoms, *, skin_A: float = 0.5, fractional: bool = True
                     ) -> tuple[JaxMDNeighbours, Callable[..., Array]]:
    """``(neighbor_fn, energy_fn)`` of ``potential`` for ``jax_md.simulate`` and ``jax_md.minimize`` (eV, Å).

    ``atoms`` gives species, periodicity and the cell. ``fractional``: positions are fractional, as in
    ``periodic_general(box)``, whose box is ``atoms.cell.T``; ``box=`` then overrides the cell. Else they are Cartesian
    (``periodic`` in a fixed cell, or ``free``). Positions may be wrapped or not; any cell will do.

    ``energy_fn(R, neighbor=table)`` is NaN, and so are its derivatives, once the skin (``skin_A``, Å) of the table is
    used up. Use jax-md's own loop: ``table = table.update(R)``; after each chunk ``if table.did_buffer_overflow``,
    repeat the chunk from ``neighbor_fn.allocate(R)``. Raises ``ValueError`` for a box in Cartesian coordinates, a
    table that is not ours, or a number of positions other than ``atoms`` has.
    """
    configure = _Configuration(fractional)

    def allocate(R, extra_capacity: int = 0, **kwargs):
        if R.shape != atoms.positions.shape:
            raise ValueError(f"positions have shape {R.shape}, the atoms given {atoms.positions.shape}: use the same "
                             "atoms in both")
        now = configure(R, atoms, unwrap=False, **kwargs)
        pairs = neighbour_table(now, potential.cutoff, skin=skin_A)
        pairs = widened(pairs, pairs.index.shape[1] + extra_capacity)
        return JaxMDTable(pairs, now, jnp.array(False), configure)

    def energy_fn(R, neighbor: Any = None, **kwargs):
        if not isinstance(neighbor, JaxMDTable):
            raise ValueError(f"neighbor is a {type(neighbor).__name__}: pass `neighbor=neighbor_fn.allocate(R)`. Lists "
                             "of jax-md are not taken, they are incomplete in cells below twice the cut-off")
        moved = configure(R, neighbor.reference, **kwargs)
        lost = skin_exceeded(neighbor.reference, jax.lax.stop_gradient(moved), neighbor.pairs)
        # A factor, so that forces are NaN too.
        return energy(potential, moved, neighbor.pairs) * jnp.where(lost, jnp.nan, 1.0)

    return JaxMDNeighbours(allocate, lambda R, table, **kwargs: table.update(R, **kwargs)), energy_fn


class _Configuration(NamedTuple):
    """Positions and box of jax-md → ``Atoms``, in the images in which the reference has them."""

    fractional: bool

    def __call__(self, R, known, *, unwrap=True, box=None, perturbation=None, **_):
        from jax_md import space

        if box is not None and not self.fractional:
            raise ValueError("box is given but positions are Cartesian: use fractional coordinates "
                             "(`fractional=True`) where the box changes")
        # Columns of a box are lattice vectors; transforming unit vectors gives them as rows.
        cell = known.cell if box is None else space.raw_transform(jnp.asarray(box), jnp.eye(3, dtype=R.dtype))
        # Non-periodic directions may have no cell vector; they are never wrapped.
        before = jnp.linalg.pinv(known.cell)
        scaled = R if self.fractional else R @ before
        if unwrap:
            hop = jnp.round(scaled - known.positions @ before) * jnp.array(known.pbc)
            R = R - hop if self.fractional else R - hop @ known.cell
        # jax-md's own transform: forces in fractional coordinates are Cartesian by its convention.
        positions = space.transform(cell.T, R) if self.fractional else R
        if perturbation is not None:
            positions, cell = (space.raw_transform(jnp.asarray(perturbation), x) for x in (positions, cell))
        return eqx.tree_at(lambda a: (a.positions, a.cell), known, (positions, cell))

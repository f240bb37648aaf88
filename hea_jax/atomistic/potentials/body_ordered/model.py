"""A linear body-ordered potential: E_i = Σ_f c_{s_i f} B_f(i), two-, three- and four-body invariants (ACE-like).

The energy is linear in its coefficients, so a fit is one linear solve. It is evaluated as polynomials in the
projections A: coefficients become matrices over channels, and every body order a few matrix products.

Sources: Drautz 2019 (atomic cluster expansion); Shapeev 2016 (contractions); the truncation and channels are ours.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.potentials.body_ordered.basis import Block, Truncation, blocks
from hea_jax.atomistic.potentials.body_ordered.blocks_of_species import SpeciesBlocks, species_blocks
from hea_jax.atomistic.potentials.body_ordered.harmonics import gaunt, real_harmonics
from hea_jax.atomistic.potentials.body_ordered.radial import radial_functions
from hea_jax.atomistic.potentials.eam import take
from hea_jax.records import AbstractPotential, Atoms, Neighbours
from hea_jax.records.atoms import pair_vectors


class BodyOrdered(AbstractPotential):
    """Linear potential over body-ordered invariants; make one with ``hea_jax.atomistic.fitting``, or read one.

    ``coefficients`` (element, function) in eV, in the order of ``basis.blocks``; ``channels`` (channel, element) are
    the chemical weights w. Static: ``elements``, ``truncation``, ``cutoff`` (Å), ``inner`` (Å, where radial
    functions begin).
    """

    coefficients: Float[Array, "element function"]
    channels: Float[Array, "channel element"]
    elements: tuple[str, ...] = eqx.field(static=True)
    truncation: Truncation = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    inner: float = eqx.field(static=True, default=1.6)

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV)."""
        blocks_ = species_blocks(atoms.species, len(self.elements))
        vectors = take(pair_vectors(atoms, pairs), blocks_.atom)
        kind = take(take(atoms.species, pairs.index), blocks_.atom)
        return take(block_energies(self, project(self, vectors, kind), blocks_).ravel(), blocks_.row)

    def projections(self, atoms: Atoms, pairs: Neighbours) -> "Projections":
        """The projections A of every atom's neighbour density."""
        return project(self, pair_vectors(atoms, pairs), atoms.species[pairs.index])

    def functions(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom function"]:
        """All invariants B_f of every atom (the row that multiplies the coefficients of its element)."""
        return invariants(self, self.projections(atoms, pairs))


class Projections(eqx.Module):
    """``pair`` (atom, element · n): A_{z n 00} without the factor Y₀₀; ``three`` and ``four`` (atom, m of all l,
    channel)."""

    pair: Float[Array, "atom pair"]
    three: Float[Array, "atom lm three"]
    four: Float[Array, "atom lm four"]


def project(potential: BodyOrdered, vectors: Float[Array, "atom k 3"], kind: Int[Array, "atom k"]) -> Projections:
    """Projections from neighbour vectors (Å; padding beyond the cut-off) and neighbour species."""
    T, S = potential.truncation, len(potential.elements)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    r = jnp.sqrt(x * x + y * y + z * z)
    inverse = 1.0 / r
    R = jnp.stack(radial_functions(T.radial, potential.cutoff, potential.inner, r), axis=1)
    Y = jnp.stack(real_harmonics(T.lmax, x * inverse, y * inverse, z * inverse), axis=1)
    which = (kind[:, None, :] == jnp.arange(S)[None, :, None]).astype(R.dtype)
    weights = jnp.einsum("qs,ask->aqk", potential.channels[: T.channels(S)], which)
    pair = jnp.einsum("ask,ank->asn", which, R[:, : T.pair_radial]).reshape(len(r), -1)
    n = max(T.three_radial, T.four_radial)
    W = (weights[:, :, None] * R[:, None, :n]).reshape(len(r), -1, r.shape[1])
    A = jnp.einsum("ack,amk->amc", W, Y).reshape(len(r), Y.shape[1], weights.shape[1], n)
    three = A[:, : (T.three_l + 1) ** 2, : min(T.three_channels, S), : T.three_radial]
    four = A[:, : (T.four_l + 1) ** 2, : min(T.four_channels, S), : T.four_radial]
    flat = lambda a: a.reshape(*a.shape[:2], -1)
    return Projections(pair, flat(three), flat(four))


def invariants(potential: BodyOrdered, A: Projections) -> Float[Array, "atom function"]:
    """All B_f, in the order of ``basis.blocks``."""
    out = []
    for block in blocks(potential.truncation, len(potential.elements)):
        if not block.orders:
            out.append(A.pair)
            continue
        if len(block.orders) == 1:
            (l,) = block.orders
            a = A.three[:, l * l : (l + 1) ** 2]
            all_pairs = jnp.einsum("amc,amd->acd", a, a).reshape(len(a), -1)
            out.append(all_pairs[:, block.index[:, 0] * a.shape[2] + block.index[:, 1]])
            continue
        third, products = four_body_factors(A.four, block.orders)
        (first, second, last), count = factor_order(block.orders), third.shape[2]
        all_triples = jnp.einsum("amp,amc->apc", products, third).reshape(len(third), -1)
        place = (block.index[:, first] * count + block.index[:, second]) * count + block.index[:, last]
        out.append(all_triples[:, place])
    return jnp.concatenate(out, axis=1)


def factor_order(orders: tuple[int, ...]) -> tuple[int, int, int]:
    """Which of (l₁, l₂, l₃) belong to the first and second factor of a product, and which to the one left over.

    The first two are those of equal l, if there are any.
    """
    l1, l2, l3 = orders
    return (1, 2, 0) if l1 != l2 and l2 == l3 else (0, 1, 2)


def four_body_factors(four: Float[Array, "atom lm channel"], orders: tuple[int, ...]
                      ) -> tuple[Float[Array, "atom m channel"], Float[Array, "atom m channel2"]]:
    """A of the l left over, and the coupled products of the other two for all channel pairs (see ``factor_order``)."""
    order = factor_order(orders)
    G = np.transpose(gaunt(*orders), order)
    a, b, c = (four[:, l * l : (l + 1) ** 2] for l in (orders[k] for k in order))
    T = [sum(float(G[m1, m2, m3]) * a[:, m1, :, None] * b[:, m2, None, :]
             for m1, m2 in zip(*np.nonzero(G[:, :, m3]), strict=True)) for m3 in range(G.shape[2])]
    return c, jnp.stack(T, axis=1).reshape(len(four), G.shape[2], -1)


def block_energies(potential: BodyOrdered, A: Projections, rows: SpeciesBlocks) -> Float[Array, "block row"]:
    """Σ_f c_{s f} B_f (eV) by matrix products over channels, without forming the B_f; rows as in ``rows``."""
    T, S = potential.truncation, len(potential.elements)
    c = take(potential.coefficients, rows.element)
    split = lambda a: a.reshape(*rows.shape, *a.shape[1:])
    pair, three, four = split(A.pair), split(A.three), split(A.four)
    total = jnp.zeros(rows.shape, c.dtype)
    for block in blocks(T, S):
        part = c[:, block.start : block.stop]
        if not block.orders:
            total = total + jnp.einsum("brf,bf->br", pair, part)
        elif len(block.orders) == 1:
            (l,) = block.orders
            a = three[:, :, l * l : (l + 1) ** 2]
            C = symmetric(part, block.index, a.shape[-1])
            total = total + jnp.einsum("brmc,brmc->br", a, jnp.einsum("brmc,bcd->brmd", a, C))
        else:
            total = total + _four_body(four, block, part)
    return total


def symmetric(part: Float[Array, "block pair"], index: np.ndarray, count: int) -> Float[Array, "block count count"]:
    """Symmetric matrices (eV) whose quadratic forms have the given coefficients of a ≤ b."""
    C = jnp.zeros((part.shape[0], count, count), part.dtype)
    C = C.at[:, index[:, 0], index[:, 1]].add(0.5 * part)
    return C.at[:, index[:, 1], index[:, 0]].add(0.5 * part)


def product_matrices(part: Float[Array, "block function"], block: Block, count: int
                     ) -> Float[Array, "block channel2 channel"]:
    """Four-body coefficients (eV) as matrices from channel pairs to the channel left over (see ``factor_order``)."""
    first, second, last = factor_order(block.orders)
    place = block.index[:, first] * count + block.index[:, second]
    return jnp.zeros((part.shape[0], count * count, count), part.dtype).at[:, place, block.index[:, last]].set(part)


def _four_body(four, block, part):
    """Energies of one (l₁, l₂, l₃) block: products of two projections, then a matrix product with the third."""
    third, products = four_body_factors(four.reshape(-1, *four.shape[2:]), block.orders)
    split = lambda a: a.reshape(*four.shape[:2], *a.shape[1:])
    V = jnp.einsum("brmp,bpc->brmc", split(products), product_matrices(part, block, third.shape[2]))
    return jnp.einsum("brmc,brmc->br", split(third), V)

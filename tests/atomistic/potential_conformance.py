"""What every potential must satisfy: a new one joins ``examples()`` and is put through all of it."""

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.fitting import initial_parameters
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import (
    ZBL,
    AverageAtom,
    FinnisSinclair,
    FsFile,
    LammpsTaper,
    LearnableEAM,
    LennardJones,
    Morse,
    Overlay,
    SmoothTaper,
    ZhouEAM,
    tabulated,
    to_setfl,
)
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered, Truncation, chemical_channels, count_functions
from hea_jax.atomistic.properties import energy, energy_forces_stress
from hea_jax.records import AbstractPotential, Atoms

evaluate = eqx.filter_jit(energy_forces_stress)
"""``energy_forces_stress``, compiled."""

evaluate_energy = eqx.filter_jit(energy)
"""``energy``, compiled."""

ELEMENTS = ("Nb", "Mo", "Ta", "W")


def learnable_eam(seed=0, pair_functions=8, density_functions=4) -> LearnableEAM:
    """A LearnableEAM with random coefficients, of the size of a fitted one."""
    rng = np.random.default_rng(seed)
    start = initial_parameters(ELEMENTS, pair_functions=pair_functions, density_functions=density_functions).potential
    noisy = lambda array, size: array + jnp.asarray(rng.normal(0, size, array.shape))
    return eqx.tree_at(lambda p: (p.pair, p.density, p.embedding_root, p.embedding_series), start,
                       (noisy(start.pair, 0.3), noisy(start.density, 0.1), noisy(start.embedding_root, 0.3),
                        noisy(start.embedding_series, 0.05)))


def fs_file(n_r=1001, n_rho=1001, elements=ELEMENTS) -> FsFile:
    """A Finnis–Sinclair table whose densities differ for every ordered pair."""
    setfl = to_setfl(learnable_eam(), n_r=n_r, n_rho=n_rho).chosen(elements)
    n = len(elements)
    share = 1.0 + 0.2 * np.random.default_rng(2).uniform(-1, 1, (n, n, 1))
    return FsFile(setfl.elements, setfl.drho, setfl.dr_A, setfl.cutoff_A, setfl.embedding,
                  share * setfl.density[:, None], setfl.pair, setfl.numbers, setfl.masses_amu,
                  setfl.lattice_constants_A, setfl.lattices)


def body_ordered(truncation=None, *, seed=0, elements=ELEMENTS, cutoff=5.0) -> BodyOrdered:
    """A BodyOrdered potential with random coefficients; small unless a truncation is given."""
    truncation = truncation or Truncation(3, 2, 2, 4, 2, 2, 2)
    shape = (len(elements), count_functions(truncation, len(elements)))
    coefficients = np.random.default_rng(seed).normal(0, 0.1, shape)
    return BodyOrdered(jnp.asarray(coefficients), jnp.asarray(chemical_channels(elements)), tuple(elements), truncation,
                       cutoff)


def examples() -> dict[str, AbstractPotential]:
    """Name → potential; ``ELEMENTS`` unless the form has others."""
    rng = np.random.default_rng(1)
    near = lambda value: jnp.asarray(value * (1 + 0.1 * (lambda m: m + m.T)(rng.uniform(-1, 1, (4, 4)))))
    morse = Morse(near(0.6), near(1.3), near(2.9), ELEMENTS, 5.5)
    return {
        "LearnableEAM": learnable_eam(),
        "TabulatedEAM": tabulated(to_setfl(learnable_eam(), n_r=1001, n_rho=1001)),
        "LennardJones": LennardJones(near(0.4), near(2.5), ELEMENTS, 5.5),
        "Morse": morse,
        "FinnisSinclair": FinnisSinclair.from_file_content(fs_file()),
        "ZhouEAM": ZhouEAM.of(("Mo", "Ta", "W", "Fe")),
        "ZBL": ZBL.of(ELEMENTS, SmoothTaper(2.0, 5.0)),
        "ZBL as LAMMPS": ZBL.of(ELEMENTS, LammpsTaper(2.0, 5.0)),
        "AverageAtom": AverageAtom.of(learnable_eam(), jnp.array([0.4, 0.3, 0.2, 0.1]), keep=("Ta", "Nb")),
        "BodyOrdered": body_ordered(),
        "Overlay": Overlay.of(morse, ZBL.of(ELEMENTS, SmoothTaper(1.5, 3.0))),
    }


def random_alloy(shape=(2, 2, 2), *, a=3.24, noise=0.08, strain=0.03, seed=0, elements=ELEMENTS) -> Atoms:
    """A displaced, strained (triclinic) bcc alloy of random species; lengths in Å."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    x = np.concatenate([grid, grid + 0.5]) * a
    F = np.eye(3) + strain * rng.normal(size=(3, 3))
    x = x + rng.normal(0, noise, x.shape)
    species = rng.integers(0, len(elements), len(x)).astype(np.int32)
    return Atoms(jnp.asarray(x @ F.T), jnp.asarray(np.diag(shape) * a @ F.T), jnp.asarray(species), tuple(elements))


def table(potential, atoms):
    """The neighbour table of a potential for a structure, padded (padding must not matter) to one width for all."""
    return neighbour_table(atoms, potential.cutoff, capacity=91)


def check_invariances(potential):
    """Energy per atom (1e-12 relative) and forces under permutation, rotation, translation, wrapping; Σ F = 0."""
    atoms = random_alloy(elements=potential.elements)
    E, F, S = evaluate(potential, atoms, table(potential, atoms))
    scale, size = 1e-12 * float(jnp.abs(E)), 1e-11 * float(jnp.max(jnp.abs(F)))
    rng = np.random.default_rng(3)
    order = rng.permutation(atoms.number)
    rotation = jnp.asarray(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    hop = jnp.asarray(rng.integers(-2, 3, (atoms.number, 3)))
    moved = {
        "permutation": (eqx.tree_at(lambda a: (a.positions, a.species), atoms,
                                    (atoms.positions[order], atoms.species[order])), F[order], S),
        "rotation": (atoms.deformed(rotation), F @ rotation.T, rotation @ S @ rotation.T),
        "translation": (atoms.displaced(jnp.array([0.3, -1.7, 5.1])), F, S),
        "wrapping": (atoms.displaced(hop @ atoms.cell), F, S),
    }
    for name, (other, expected, expected_stress) in moved.items():
        e, f, s = evaluate(potential, other, table(potential, other))
        assert abs(float(e - E)) <= scale, f"{name}: energy changes by {float(e - E):.2e} eV"
        np.testing.assert_allclose(f, expected, rtol=0, atol=size, err_msg=name)
        np.testing.assert_allclose(s, expected_stress, rtol=0, atol=size, err_msg=name)
    np.testing.assert_allclose(jnp.sum(F, axis=0), 0, atol=size)
    np.testing.assert_allclose(S, S.T, atol=1e-15)
    doubled = jnp.concatenate([atoms.positions, atoms.positions + atoms.cell[0]])
    big = Atoms(doubled, atoms.cell * jnp.array([2.0, 1, 1])[:, None], jnp.tile(atoms.species, 2), atoms.elements)
    assert abs(float(evaluate_energy(potential, big, table(potential, big)) - 2 * E)) <= 4 * scale


def check_derivatives(potential):
    """Forces against central differences of the energy; stress against the strain derivative (1e-8 relative)."""
    atoms = random_alloy((1, 1, 1), noise=0.12, elements=potential.elements)
    pairs = neighbour_table(atoms, potential.cutoff, skin=0.1)
    _, F, S = evaluate(potential, atoms, pairs)
    value = lambda a: evaluate_energy(potential, a, pairs)

    def difference(deform, h=2e-4):
        # Fourth order, so that truncation stays below 1e-9.
        f = lambda x: float(value(deform(x)))
        return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)

    rng = np.random.default_rng(5)
    direction = jnp.asarray(rng.normal(size=atoms.positions.shape))
    along = difference(lambda t: atoms.displaced(t * direction))
    np.testing.assert_allclose(-jnp.sum(F * direction), along, rtol=1e-7, atol=1e-8 * float(jnp.max(jnp.abs(F))))
    strain = jnp.asarray(rng.normal(size=(3, 3)))
    strain = strain + strain.T
    slope = difference(lambda t: atoms.deformed(jnp.eye(3) + t * strain), 5e-5)
    np.testing.assert_allclose(jnp.sum(S * strain) * atoms.volume, slope, rtol=1e-8, atol=1e-7)


def check_fused(potential):
    """The gather-only rule equals plain autodiff: gradient, cell gradient, Hessian–vector and mixed products."""
    atoms = random_alloy((2, 1, 1), elements=potential.elements)
    pairs = table(potential, atoms)
    rng = np.random.default_rng(7)
    v = jnp.asarray(rng.normal(size=atoms.positions.shape))
    plain = lambda p, a: jnp.sum(p.atomic_energies(a, pairs))
    fused = lambda p, a: energy(p, a, pairs)
    answers = []
    for total in (plain, fused):
        def at(u, cell, p, total=total):
            return total(p, eqx.tree_at(lambda a: a.cell, atoms.displaced(u), cell))
        zero = jnp.zeros_like(v)
        gradient = jax.jit(jax.grad(at, argnums=(0, 1)))(zero, atoms.cell, potential)
        hessian = jax.jit(lambda u, p, at=at: jax.jvp(lambda w: jax.grad(at)(w, atoms.cell, p), (u,), (v,))[1])(
            zero, potential)
        # Reverse over forward over reverse, also with respect to the parameters.
        curvature = lambda u, cell, p: jnp.sum(v * jax.jvp(lambda w: jax.grad(at)(w, cell, p), (u,), (v,))[1])
        third = jax.jit(jax.grad(curvature, argnums=(0, 1)))(zero, atoms.cell, potential)
        mixed = eqx.filter_jit(eqx.filter_grad(lambda p, f=curvature, u=zero: f(u, atoms.cell, p)))(potential)
        answers.append((gradient, hessian, third, mixed))
    for one, other in zip(jax.tree.leaves(answers[0]), jax.tree.leaves(answers[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10 * max(1.0, float(jnp.max(jnp.abs(one)))))


def check_transformations(potential):
    """jit, vmap over structures, gradients with respect to parameters, serialisation."""
    several = [random_alloy((1, 1, 1), seed=s, elements=potential.elements) for s in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *several)
    pairs = neighbour_table(batch, potential.cutoff)
    together = jax.jit(jax.vmap(lambda a, n: energy(potential, a, n)))(batch, pairs)
    tables = [jax.tree.map(lambda x, m=m: x[m], pairs) for m in range(3)]
    alone = [evaluate_energy(potential, a, n) for a, n in zip(several, tables, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    slopes = eqx.filter_jit(eqx.filter_grad(lambda p, a, n: energy(p, a, n)))(potential, several[0], tables[0])
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(slopes))
    assert any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(slopes))
    stream = io.BytesIO()
    eqx.tree_serialise_leaves(stream, potential)
    stream.seek(0)
    blank = jax.tree.map(jnp.zeros_like, potential)
    restored = eqx.tree_deserialise_leaves(stream, blank)
    assert float(evaluate_energy(restored, several[0], tables[0])) == float(alone[0])


def check_cutoff(potential, *, derivatives=3):
    """A dimer's energy and its derivatives fall to zero at the cut-off, without a step, and are zero beyond it."""
    def dimer(r):
        atoms = Atoms(jnp.zeros((2, 3)).at[1, 0].set(r), 30.0 * jnp.eye(3), jnp.array([0, 1], jnp.int32),
                      potential.elements)
        return energy(potential, atoms, pairs)

    far = Atoms(jnp.zeros((2, 3)).at[1, 0].set(potential.cutoff), 30.0 * jnp.eye(3), jnp.array([0, 1], jnp.int32),
                potential.elements)
    pairs = neighbour_table(far, potential.cutoff, skin=1.0)
    orders = [dimer]
    for _ in range(derivatives):
        orders.append(lambda r, f=orders[-1]: jax.jvp(f, (r,), (jnp.ones_like(r),))[1])
    all_orders = jax.jit(lambda r: jnp.stack([f(r) for f in orders]))
    at = lambda r: np.asarray(all_orders(jnp.asarray(r)))
    alone = np.array([at(potential.cutoff + 0.5)[0], *np.zeros(derivatives)])
    inside, beyond, scale = at(potential.cutoff - 1e-4) - alone, at(potential.cutoff + 1e-4) - alone, abs(at(3.0)[0])
    for order in range(derivatives + 1):
        assert beyond[order] == 0.0
        # A function with p vanishing derivatives is O(h^(p+1−order)) at distance h.
        assert abs(inside[order]) <= 1e4 * scale * (1e-4) ** (derivatives + 1 - order), (order, inside[order])

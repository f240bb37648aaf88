"""The body-ordered potential that ships: its file, its errors on DFT that it has not seen, short distances."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.fitting.evaluation import evaluate
from hea_jax.atomistic.fitting.linear.crystal_rows import value_and_row
from hea_jax.atomistic.fitting.targets import ElasticConstant, LatticeConstant, observe, pure_cell
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import load_potential
from hea_jax.atomistic.potentials.body_ordered.file import read_body_ordered
from hea_jax.atomistic.potentials.shipped import BODY_ORDERED, shipped_body_ordered
from hea_jax.atomistic.properties import energy
from hea_jax.electronic import shipped_dataset
from hea_jax.records import Atoms
from hea_jax.structures.ordered import PROTOTYPES


@pytest.fixture(scope="module")
def potential():
    return shipped_body_ordered()


def test_it_is_recognised_and_says_what_it_is(potential):
    assert type(load_potential(BODY_ORDERED)) is type(potential)
    facts = read_body_ordered(BODY_ORDERED)["facts"]
    _, energy_meV, force = facts["held_out_frames_energy_mae_meV_force_mae_eV_per_A"]["all"]
    assert energy_meV < 5.0
    assert force < 0.12
    for dft, fit in facts["unrelaxed_vacancy_eV_dft_and_fit"].values():
        assert abs(dft - fit) < 0.3


def test_vacancies_of_the_file_are_those_of_the_potential(potential):
    """And of DFT within 0.3 eV: the cells of 15 atoms of the shipped set."""
    facts = read_body_ordered(BODY_ORDERED)["facts"]["unrelaxed_vacancy_eV_dft_and_fit"]
    data = shipped_dataset()
    frames = dict(zip(data.names, data.frames, strict=True))
    for element, (dft, fit) in facts.items():
        pair = [frames[f"vacancy15-pure-{element}"], frames[f"eos_bcc-{element}-1.0"]]
        E = evaluate(potential, pair).energy_eV
        reference = [float(frame.free_energy_eV) for frame in pair]
        assert E[0] - 7.5 * E[1] == pytest.approx(fit, abs=2e-3)
        assert reference[0] - 7.5 * reference[1] == pytest.approx(dft, abs=2e-3)


def test_two_atoms_repel_at_short_distances(potential):
    """No well inside: what closer pairs feel is the core alone, and from there the energy falls to one minimum."""
    r = np.arange(0.8, 2.3, 0.02)

    def dimer(d, species):
        x = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]) * d
        return energy(potential, Atoms(x, 40.0 * jnp.eye(3), species, potential.elements), pairs)

    near = Atoms(jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), 40.0 * jnp.eye(3), jnp.zeros(2, jnp.int32),
                 potential.elements)
    pairs = neighbour_table(near, potential.cutoff)
    energies = jax.jit(jax.vmap(dimer, (0, None)))
    for species in [(a, b) for a in range(4) for b in range(a, 4)]:
        E = np.asarray(energies(jnp.asarray(r), jnp.array(species, jnp.int32)))
        assert np.all(np.diff(E[r < 1.95]) < 0)
        assert E[0] > 100
        assert E.min() > -5


def crystal_targets(potential, element):
    cell = pure_cell(PROTOTYPES["bcc"], element, 3.2, potential.elements, potential.cutoff)
    return [LatticeConstant(cell), *(ElasticConstant(cell, which) for which in range(3))]


@pytest.mark.slow
def test_closed_forms_of_lattice_and_elastic_constants_are_those_of_a_relaxation(potential):
    fitted, core = potential.parts
    for target in crystal_targets(potential, "Ta"):
        assert value_and_row(target, fitted, core)[0] == pytest.approx(float(observe(target, potential)), rel=1e-6)


def test_slopes_of_lattice_and_elastic_constants_are_their_differences(potential):
    fitted, core = potential.parts
    c = fitted.coefficients
    direction = np.random.default_rng(0).normal(size=c.shape) * 1e-5 * np.abs(np.asarray(c))
    moved = lambda sign: eqx.tree_at(lambda p: p.coefficients, fitted, c + sign * direction)
    for target in crystal_targets(potential, "Nb"):
        slope = value_and_row(target, fitted, core)[1]
        ahead, behind = (value_and_row(target, moved(sign), core)[0] for sign in (1, -1))
        assert slope @ direction.ravel() == pytest.approx(0.5 * (ahead - behind), rel=2e-3)

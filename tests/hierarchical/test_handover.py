"""Hand-overs between the scales: no field of a record is carried along without effect.

Every field of every record is changed by 1%, and the output of the next stage must move.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hierarchical.chain_fixtures import SEGREGATION, cast, microstructure, properties

from hea_jax.atomistic.fitting import prepare_fit, residuals
from hea_jax.atomistic.fitting.packing import pack
from hea_jax.atomistic.fitting.study import BCC_WEIGHTS
from hea_jax.electronic import shipped_dataset
from hea_jax.hierarchical.anneal import composition_stderr, diffusion_model, free_energy, grain_model
from hea_jax.hierarchical.grains_to_component import effective_properties
from hea_jax.hierarchical.panel import panel_of, tip_and_error
from hea_jax.hierarchical.separation import separate_scales
from hea_jax.mesoscale.equations import reduce
from hea_jax.mesoscale.evolve import evolve
from hea_jax.mesoscale.grain_growth import order_parameters
from hea_jax.mesoscale.grid import PeriodicGrid
from hea_jax.mesoscale.steppers import IMEXRK2
from hea_jax.records import AtomisticProperties, EffectiveProperties, Microstructure, ReferenceData

ANNEAL_K, GROWTH_K = 2073.0, 1200.0
MOVED = 1e-12
"""Relative change of an output that counts as moved: well above rounding."""


def array_fields(record_class):
    """Names of the fields that hold arrays."""
    return [f.name for f in dataclasses.fields(record_class) if not f.metadata.get("static")]


def changed(record, name):
    """The record with one field changed by 1%: scaled; a grain map with 1% of its voxels given to the next grain."""
    value = getattr(record, name)
    if jnp.issubdtype(value.dtype, jnp.integer):
        flat = np.asarray(value).ravel().copy()
        some = np.random.default_rng(0).choice(flat.size, max(1, flat.size // 100), replace=False)
        flat[some] = (flat[some] + 1) % (flat.max() + 1)
        new = jnp.asarray(flat.reshape(value.shape))
    elif name == "rotations":
        angle = 0.01
        turn = jnp.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
        new = value @ turn
    elif name == "composition" and value.ndim == 1:
        new = value * jnp.array([1.01, 0.99, 1.0, 1.0])
    else:
        new = 1.01 * value
    return eqx.tree_at(lambda r: getattr(r, name), record, new)


def assert_moves(function, record, name, base):
    """Some output of ``function`` moves, and none becomes NaN."""
    moved = function(changed(record, name))
    shifts = []
    for a, b in zip(jax.tree.leaves(base), jax.tree.leaves(moved), strict=True):
        assert np.isfinite(b).all(), f"{name}: an output is not finite"
        shifts.append(float(jnp.max(jnp.abs(a - b)) / jnp.maximum(jnp.max(jnp.abs(a)), 1e-300)))
    assert max(shifts) > MOVED, f"{name} is carried along without effect: outputs move by {max(shifts):.1e}"


@eqx.filter_jit
def mesoscale(record):
    """Annealed composition and its errors, free energy, and order parameters after some grain growth."""
    sizes, voxel = SEGREGATION["sizes"], SEGREGATION["voxel_nm"]
    model = diffusion_model(record, PeriodicGrid(sizes, jnp.full(2, voxel)), ANNEAL_K)
    fields = cast() + (record.composition - 0.25)[:, None, None]
    annealed = evolve(model, IMEXRK2(), reduce(fields), dt_s=1e3, steps=4)
    error = composition_stderr(record, fields, jnp.asarray(voxel), ANNEAL_K, 4e3, coarsen=2, steps=2)
    grid = PeriodicGrid((8, 8, 8), jnp.full(3, 2.5))
    growth = grain_model(record, grid, GROWTH_K, width_nm=10.0)
    start = order_parameters(microstructure().phases, 5, grid, width_nm=10.0)
    grown = evolve(growth, IMEXRK2(), start, dt_s=1e-5, steps=4)
    density = free_energy(record, ANNEAL_K).density(fields)
    return annealed.value, error, annealed.stats["energy"], grown.value, grown.stats["energy"], density


def homogenised(record):
    """Everything that the RVE stage takes straight from the atoms."""
    return effective_properties(record, [microstructure(0), microstructure(1)]).unwrap()


@pytest.fixture(scope="module")
def atoms():
    """The record of the atoms with the outputs of the two stages that read it."""
    record = properties()
    return record, mesoscale(record), homogenised(record)


@pytest.mark.parametrize("name", array_fields(AtomisticProperties))
def test_every_atomistic_property_reaches_the_mesoscale_or_the_rve(atoms, name):
    record, meso, rve = atoms
    thermal = ("lattice_constants_stderr_A", "temperatures_K")
    if name.startswith("elastic") or name in thermal:
        assert_moves(homogenised, record, name, rve)
    else:
        assert_moves(mesoscale, record, name, meso)


def from_grains(record):
    """The record of the RVE stage."""
    return effective_properties(properties(), [record, microstructure(1)]).unwrap()


@pytest.fixture(scope="module")
def grains():
    """A microstructure and what the RVE makes of it."""
    record = microstructure(0)
    return record, from_grains(record)


@pytest.mark.parametrize("name", array_fields(Microstructure))
def test_every_field_of_a_microstructure_reaches_the_rve(grains, name):
    assert_moves(from_grains, grains[0], name, grains[1])


def component(panel):
    """Tip displacement, its error, and the ratio of lengths: what the component stage reports."""
    def outputs(record):
        tip, error = tip_and_error(record, panel)
        found = separate_scales(component_nm=25_000.0, rve_nm=float(record.rve_length_nm), heterogeneity_nm=10.0)
        return tip, error, jnp.asarray(found.epsilon)
    return outputs


@pytest.fixture(scope="module")
def effective():
    """Homogenised properties, the function to the component's answers, and the answers."""
    record = homogenised(properties())
    # Inside the temperatures of the record also after a change of 1%.
    panel = panel_of((2, 2), scale_nm=1000.0, traction_GPa=0.2, clamp_temperature_K=350.0, tip_temperature_K=880.0)
    function = component(panel)
    return record, function, function(record)


@pytest.mark.parametrize("name", array_fields(EffectiveProperties))
def test_every_effective_property_reaches_the_component(effective, name):
    record, function, base = effective
    assert_moves(function, record, name, base)


@pytest.fixture(scope="module")
def reference():
    """Four frames of the shipped set, and the rows of the loss as a function of one of them."""
    dataset = shipped_dataset().select(np.arange(4))
    start, prior, *_ = prepare_fit(shipped_dataset().select(np.arange(12)), held_out_fraction=0.3)

    def rows(frame):
        frames = (dataset.frames[0], frame, *dataset.frames[2:])
        return residuals(start, pack(frames, dataset.groups, start.potential, BCC_WEIGHTS), prior)
    return dataset.frames[1], rows, rows(dataset.frames[1])


@pytest.mark.parametrize("name", array_fields(ReferenceData))
def test_every_field_of_the_reference_data_reaches_the_fit(reference, name):
    frame, rows, base = reference
    if name == "atoms":
        moved = eqx.tree_at(lambda f: f.atoms, frame, frame.atoms.deformed(1.01 * jnp.eye(3)))
    else:
        # Forces and stresses of a perfect crystal may vanish: shift them too.
        moved = eqx.tree_at(lambda f: getattr(f, name), frame, 1.01 * getattr(frame, name) + 1e-4)
    # Rows are in units of their expected errors.
    assert float(jnp.max(jnp.abs(rows(moved) - base))) > 1e-6

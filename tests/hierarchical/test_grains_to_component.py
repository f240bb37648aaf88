"""From the microstructure to the component: limits that are known, interpolation, and errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hierarchical.chain_fixtures import microstructure, properties

from hea_jax.continuum.mesh.elements import Quad4
from hea_jax.continuum.rve import rve_of
from hea_jax.core.tensors import bulk_shear_from_young, cubic_stiffness, isotropic_stiffness
from hea_jax.hierarchical.grains_to_component import (
    component_law,
    effective_properties,
    periodic_sample,
    stiffness_and_slope,
    thermal_strain,
)
from hea_jax.hierarchical.panel import panel_of, tip_and_error, tip_displacement
from hea_jax.hierarchical.separation import Verdict, separate_scales
from hea_jax.hierarchical.upscaling import Polycrystal, polycrystal_stiffness


def isotropic(record):
    """The record with isotropic crystals: any polycrystal of them is one of them."""
    C = jnp.array([[300.0, 100.0, 100.0], [280.0, 100.0, 90.0], [260.0, 100.0, 80.0]])
    return dataclasses.replace(record, elastic_constants_GPa=C)


@pytest.fixture(scope="module")
def effective():
    """Effective properties of isotropic crystals on two microstructures."""
    return effective_properties(isotropic(properties()), [microstructure(0), microstructure(1)]).unwrap()


def test_isotropic_crystals_pass_through(effective):
    for k, cubic in enumerate(([300.0, 100.0, 100.0], [280.0, 100.0, 90.0], [260.0, 100.0, 80.0])):
        np.testing.assert_allclose(effective.stiffness_GPa[k], cubic_stiffness(*cubic), rtol=1e-7, atol=1e-6)
    # No scatter between microstructures, only the atoms' errors. Near isotropy K = (C11 + 2 C12)/3 and
    # G = (C11 − C12 + 3 C44)/5 to first order, for grains of all orientations: C11 of the aggregate is K + 4G/3.
    exact = (0.7 + 0.8) / 3 + 4 / 3 * (0.7 - 0.4 + 0.9) / 5
    np.testing.assert_allclose(effective.stiffness_stderr_GPa[0, 0, 0], exact, rtol=0.05)
    assert float(effective.stiffness_stderr_GPa[0, 0, 4]) < 0.05
    assert float(effective.rve_length_nm) == 20.0


def test_slope_is_that_of_a_solution_anew():
    record = microstructure(0)
    grains = Polycrystal(rve_of(record), record.rotations)
    cubic, change = jnp.array([370.0, 194.0, 106.0]), jnp.array([3.0, -1.0, 2.0])
    (C, slope), h = stiffness_and_slope(cubic, grains).unwrap(), 1e-3
    up, down = (polycrystal_stiffness(cubic + s * h * change, grains).unwrap() for s in (1, -1))
    np.testing.assert_allclose(slope @ change, (up - down) / (2 * h), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(C, polycrystal_stiffness(cubic, grains).unwrap(), rtol=1e-10)


def test_periodic_sample_is_exact_at_centres_and_linear_between():
    field = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6)))
    voxel = jnp.array([2.0, 3.0])
    at = lambda x, y: periodic_sample(field, voxel, jnp.array([[x, y]]))[0]
    np.testing.assert_allclose(at(3.0, 7.5), field[:, 1, 2])
    np.testing.assert_allclose(at(3.0 + 8.0, 7.5 - 18.0), field[:, 1, 2])
    np.testing.assert_allclose(at(4.0, 7.5), 0.5 * (field[:, 1, 2] + field[:, 2, 2]))
    np.testing.assert_allclose(at(0.0, 1.5), 0.5 * (field[:, 0, 0] + field[:, 3, 0]))


def test_law_follows_temperature_and_composition(effective):
    points = jnp.array([[1e4, 2e4], [3e4, 3e4]])
    law = component_law(effective, points, jnp.array([300.0, 1200.0]))
    c = periodic_sample(effective.composition, effective.composition_voxel_nm, points)
    change = effective.stiffness_slopes_GPa @ (c[1] - effective.mean_composition)
    middle = 0.5 * (effective.stiffness_GPa[1] + effective.stiffness_GPa[2])
    np.testing.assert_allclose(law.stiffness[1], middle + change, rtol=1e-12)
    a = np.array([3.240, 3.256, 3.275])
    np.testing.assert_allclose(law.eigenstrain[0], 0.0, atol=1e-15)
    np.testing.assert_allclose(law.eigenstrain[1, :3], 0.5 * (a[1] + a[2]) / a[0] - 1, rtol=1e-12)
    outside = component_law(effective, points, jnp.array([299.0, 1600.0]))
    assert np.isnan(outside.stiffness).all()


def test_thermal_strain_and_its_error():
    strain, error = thermal_strain(properties())
    np.testing.assert_allclose(strain, [0.0, 3.256 / 3.240 - 1, 3.275 / 3.240 - 1], rtol=1e-12)
    np.testing.assert_allclose(error[1], np.hypot(3e-4, 2e-4) / 3.24, rtol=1e-2)
    assert float(error[0]) == 0.0


def test_uniform_panel_is_cooks_membrane(effective):
    """E = 1, ν = ⅓, total load 1, plane strain: the panel of a uniform, isothermal material against its own scaling.

    u scales with load/E: with moduli and load doubled the tip stays; the published plane-stress value belongs to
    another law and is checked with the finite elements.
    """
    K, G = bulk_shear_from_young(270.0, 1 / 3)
    C = isotropic_stiffness(K, G)
    uniform = dataclasses.replace(effective, stiffness_GPa=jnp.stack([C] * 3),
                                  stiffness_slopes_GPa=jnp.zeros((6, 6, 4)), thermal_strain=jnp.zeros(3))
    options = {"scale_nm": 1000.0, "clamp_temperature_K": 300.0, "tip_temperature_K": 900.0}
    panel = panel_of((8, 8), traction_GPa=0.2, **options)
    tip = float(tip_displacement(uniform, panel))
    doubled = dataclasses.replace(uniform, stiffness_GPa=2 * uniform.stiffness_GPa)
    np.testing.assert_allclose(tip_displacement(doubled, panel_of((8, 8), traction_GPa=0.4, **options)), tip, rtol=1e-9)
    small = panel_of((8, 8), traction_GPa=0.2, **(options | {"scale_nm": 10.0}))
    np.testing.assert_allclose(tip_displacement(uniform, small), tip / 100, rtol=1e-9)
    coarse = panel_of((8, 8), traction_GPa=0.2, element=Quad4(), **options)
    assert 0.9 * tip < float(tip_displacement(uniform, coarse)) < tip


def test_free_expansion_and_errors(effective):
    panel = panel_of((4, 4), scale_nm=1000.0, traction_GPa=0.0, clamp_temperature_K=300.0, tip_temperature_K=900.0)
    tip, error = tip_and_error(effective, panel)
    # Half the strain at the hot side, over half the height at least, and not more than the whole strain over it.
    strain = float(effective.thermal_strain[1])
    assert 0.0 < float(tip) < strain * 60_000.0
    assert float(error) > 0
    quiet = dataclasses.replace(effective, **{name: jnp.zeros_like(getattr(effective, name)) for name in (
        "stiffness_stderr_GPa", "stiffness_slopes_stderr_GPa", "thermal_strain_stderr", "composition_stderr")})
    assert float(tip_and_error(quiet, panel)[1]) == 0.0
    only = dataclasses.replace(quiet, thermal_strain_stderr=effective.thermal_strain_stderr)
    h = 1e-6
    shifts = [float((tip_displacement(dataclasses.replace(
        effective, thermal_strain=effective.thermal_strain.at[k].add(h)), panel) - tip) / h) for k in range(3)]
    # One source, a(T₀), is in all of them: fully correlated.
    expected = abs(np.sum(np.array(shifts) * np.asarray(effective.thermal_strain_stderr)))
    np.testing.assert_allclose(tip_and_error(only, panel)[1], expected, rtol=1e-5)


def test_a_microstructure_without_composition_is_refused():
    bare = dataclasses.replace(microstructure(0), composition=None)
    with pytest.raises(ValueError, match="carries no composition"):
        effective_properties(properties(), [bare])


def test_several_windows_count_as_a_larger_one():
    lengths = {"component_nm": 1e5, "rve_nm": 100.0, "heterogeneity_nm": 15.0}
    assert separate_scales(**lengths).verdict is Verdict.RESIZE
    several = separate_scales(**lengths, windows=8)
    assert several.verdict is Verdict.HIERARCHICAL
    np.testing.assert_allclose(several.heterogeneity_ratio, 0.075)
    np.testing.assert_allclose(several.window_nm[0], 75.0)
    with pytest.raises(ValueError, match="windows"):
        separate_scales(**lengths, windows=0)


def test_effective_properties_have_gradients():
    record = properties()

    def tip_like(constants):
        changed = dataclasses.replace(record, elastic_constants_GPa=constants)
        effective = effective_properties(changed, [microstructure(0)]).value
        return effective.stiffness_GPa[1, 0, 0] + 0.01 * effective.stiffness_slopes_GPa[3, 3, 0]
    C, direction, h = record.elastic_constants_GPa, jnp.array([[1.0, 0.3, -0.5]] * 3), 1e-3
    slope = jnp.sum(jax.grad(tip_like)(C) * direction)
    difference = (tip_like(C + h * direction) - tip_like(C - h * direction)) / (2 * h)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)

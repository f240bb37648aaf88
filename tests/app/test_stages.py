"""The stages read what the configuration names: any extxyz file whose keys it declares."""

from pathlib import Path

import numpy as np

from hea_jax.app.config import load_config
from hea_jax.app.stages.potential import load_reference
from hea_jax.app.study import stages

ROOT = Path(__file__).parents[2]


class Base:
    """A context that resolves paths against a folder."""

    def __init__(self, folder):
        self.folder = folder

    def resolve(self, path):
        return self.folder / path


def test_a_file_with_declared_keys_is_read_in_its_own_units_and_sign(tmp_path):
    (tmp_path / "other.extxyz").write_text(
        '2\nLattice="3.2 0 0 0 3.2 0 0 0 3.2" Properties=species:S:1:pos:R:3:pull:R:3 E_tot=-20.5 '
        'pressure_like="10 0 0 0 10 0 0 0 10" kind=bulk\nNb 0 0 0 0 0 0.1\nW 1.6 1.6 1.6 0 0 -0.1\n')
    text = (ROOT / "configs" / "nbmotaw.yaml").read_text()
    start, end = text.index("data:"), text.index("fit:")
    data = ("data:\n  source: other.extxyz\n  declared_keys: {energy: E_tot, forces: pull, stress: pressure_like, "
            "stress_unit: GPa, tension_sign: -1, group: kind}\n\n")
    (tmp_path / "study.yaml").write_text(text[:start] + data + text[end:])
    dataset = load_reference(load_config(tmp_path / "study.yaml", ()), Base(tmp_path))
    assert dataset.elements == ("Nb", "W")
    assert dataset.groups == ("bulk",)
    frame = dataset.frames[0]
    np.testing.assert_allclose(frame.free_energy_eV, -20.5)
    np.testing.assert_allclose(frame.forces_eV_per_A[:, 2], [0.1, -0.1])
    np.testing.assert_allclose(np.diag(frame.stress_eV_per_A3), -10 / 160.2176634, rtol=1e-9)


def test_the_chain_is_complete():
    names = ("data fit export alloy mixing dynamics properties segregation grains rve boundary scales component fe2 "
             "tip gradient calibration")
    assert [stage.name for stage in stages()] == names.split()

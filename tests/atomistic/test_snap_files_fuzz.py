"""The readers of SNAP files: what they read, what they refuse and how, and that no bytes get past both."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hea_jax.atomistic.potentials.snap import snap_from
from hea_jax.atomistic.potentials.snap_files import (
    KNOWN,
    SnapCoefficients,
    SnapError,
    SnapParameters,
    read_snap_coefficients,
    read_snap_parameters,
)

COEFFICIENTS = "# Ta and W\n\n2 6\nTa 0.5 1\n-2.9 # B[0]\n0.1\n-0.2\n.3\n4e-1\n0.5\nW 0.45 0.9\n-3\n1\n2\n3\n4\n5\n"
PARAMETERS = "# SNAP\nrcutfac 4.7 # with radii\ntwojmax 2\n\nrfac0 0.99\nrmin0 0.1\nbzeroflag 0\nchunksize 4096\n"
READERS = {"coefficients": (read_snap_coefficients, COEFFICIENTS, SnapCoefficients),
           "parameters": (read_snap_parameters, PARAMETERS, SnapParameters)}


def test_content(tmp_path):
    c, p = tmp_path / "c", tmp_path / "p"
    c.write_text(COEFFICIENTS.replace("\n", "\r\n"), encoding="utf-8")
    p.write_text(PARAMETERS, encoding="utf-8")
    read = read_snap_coefficients(c)
    assert read.elements == ("Ta", "W")
    np.testing.assert_array_equal(read.radii, [0.5, 0.45])
    np.testing.assert_array_equal(read.weights, [1.0, 0.9])
    np.testing.assert_array_equal(read.coefficients, [[-2.9, 0.1, -0.2, 0.3, 0.4, 0.5], [-3, 1, 2, 3, 4, 5]])
    assert read_snap_parameters(p) == SnapParameters(4.7, 2, 0.99, 0.1, bzeroflag=False)
    assert snap_from(read, read_snap_parameters(p)).cutoff == pytest.approx(4.7)


@pytest.mark.parametrize(("old", "new", "line", "message"), [
    ("2 6", "2", 3, "found 1 words"),
    ("2 6", "2 x", 3, "should be a whole number, found 'x'"),
    ("2 6", "0 6", 3, "must be at least 1"),
    ("2 6", "3 6", 17, "where symbol, radius and weight of element 3 of 3 should stand"),
    ("2 6", "1 6", 11, "text follows the last coefficient of Ta"),
    ("2 6", "2 7", 11, "coefficient 7 of 7 of Ta stands alone on its line, found 3 words"),
    ("2 6", f"2 {10**30}", 11, "announces too many"),
    ("Ta 0.5 1", "Ta 0.5", 4, "three words, found 2"),
    ("Ta 0.5", "Ta -0.5", 4, "radius of Ta is -0.5: it must be positive"),
    ("W 0.45", "Ta 0.45", 11, "Ta stands twice"),
    ("4e-1", "4d-1", 9, "should be a number, found '4d-1'"),
    ("4e-1", "nan", 9, "must be finite"),
    ("4e-1", "1_0", 9, "should be a number"),
    ("4\n5\n", "4\n", 16, "where coefficient 6 of 6 of W should stand"),
])
def test_coefficient_errors(tmp_path, old, new, line, message):
    path = tmp_path / "bad.snapcoeff"
    path.write_text(COEFFICIENTS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SnapError) as error:
        read_snap_coefficients(path)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(("old", "new", "line", "message"), [
    ("twojmax 2", "twojmax 999999999", 3, "this implementation takes 0 to 14"),
    ("twojmax 2", "twojmax 2.5", 3, "twojmax should be a whole number"),
    ("twojmax 2", "", 8, "the file ends without twojmax"),
    ("twojmax 2", "twojmax", 3, "takes one value, found 0"),
    ("rmin0 0.1", "rmin0 0.1 7", 6, "takes one value, found 2"),
    ("rmin0 0.1", "rfac0 0.1", 6, "rfac0 stands twice"),
    ("rmin0 0.1", "rmin 0.1", 6, "'rmin' is no keyword"),
    ("bzeroflag 0", "bzeroflag 2", 7, "bzeroflag is 0 or 1, found '2'"),
    ("bzeroflag 0", "sinner 1 -2", 7, "sinner must be at least 0"),
])
def test_parameter_errors(tmp_path, old, new, line, message):
    path = tmp_path / "bad.snapparam"
    path.write_text(PARAMETERS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SnapError) as error:
        read_snap_parameters(path)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("rcutfac 4.7", "rcutfac -1", "rcutfac must be positive"),
    ("bzeroflag 0", "switchinnerflag 1", "switchinnerflag 1 goes with both sinner and dinner"),
    ("bzeroflag 0", "sinner 1 1\ndinner 1 1", "switchinnerflag 1 goes with both"),
])
def test_parameters_that_contradict_each_other(tmp_path, old, new, message):
    path = tmp_path / "bad.snapparam"
    path.write_text(PARAMETERS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SnapError, match=message) as error:
        read_snap_parameters(path)
    assert str(path) in str(error.value)


def test_missing_file(tmp_path):
    for reader, _, _ in READERS.values():
        with pytest.raises(FileNotFoundError, match="check the path"):
            reader(tmp_path / "absent")


def outcome(folder, name, data: bytes):
    """Reads ``data``: a valid object or a ``SnapError`` that names the file, in little time and memory."""
    reader, _, kind = READERS[name]
    path = folder / "fuzzed"
    path.write_bytes(data)
    started = time.perf_counter()
    tracemalloc.start()
    result = message = None
    try:
        result = reader(path)
    except SnapError as error:
        message = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if message is not None:
        assert str(path) in message
        assert len(message) < 2000
    else:
        assert isinstance(result, kind)
        if name == "coefficients":
            assert np.isfinite(result.coefficients).all()
    assert peak < 5e7
    assert time.perf_counter() - started < 5.0


WORDS = st.sampled_from([*KNOWN, "1", "0", "-1", "1e400", "nan", "99999999999999999999", "2", "Ta", "0.5", "#", "\x00",
                         "١", "1" * 5000])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", READERS)
def test_any_bytes(folder, name):
    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300))
    def attempt(data):
        outcome(folder, name, data)

    attempt()


@pytest.mark.parametrize("name", READERS)
def test_any_words(folder, name):
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.lists(WORDS, max_size=4).map(" ".join), max_size=20).map("\n".join))
    def attempt(text):
        outcome(folder, name, text.encode())

    attempt()


@pytest.mark.parametrize("name", READERS)
def test_mutations_of_a_valid_file(folder, name):
    original = READERS[name][1].encode()
    place = st.integers(0, len(original) - 1)

    @settings(max_examples=200, deadline=None)
    @given(place, place, st.one_of(st.binary(max_size=4), WORDS.map(str.encode)))
    def attempt(first, second, new):
        start, stop = sorted((first, second))
        outcome(folder, name, original[:start] + new + original[stop:])
        outcome(folder, name, original[:start] + new + original[start:])

    attempt()

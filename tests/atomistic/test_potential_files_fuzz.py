"""Whatever stands in a potential file, reading it gives a valid object or our error: never another, nor a blow-up."""

import dataclasses
import json
import tracemalloc
import warnings

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hea_jax.atomistic.potentials import (
    FsError,
    FsFile,
    Funcfl,
    FuncflError,
    PotentialFileError,
    Setfl,
    SetflError,
    load_potential,
    read_fs,
    read_funcfl,
    read_setfl,
    write_fs,
    write_funcfl,
    write_setfl,
)
from hea_jax.atomistic.potentials.shipped import (
    LEAVES,
    STATIC,
    PotentialJsonError,
    potential_from_json,
    potential_to_json,
)
from hea_jax.atomistic.potentials.table_file import same_content
from hea_jax.records import AbstractPotential
from tests.atomistic import potential_conformance as kit

EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True, database=None)
ODD_WORDS = st.sampled_from([
    b"nan", b"inf", b"-inf", b"1e400", b"-1", b"0", b"1e-320", b"1e308", b"1_0", b"1000000000000", b"9" * 5000, b"x",
    b"1.5D0", b"#", b"\x00", b"\xff\xfe", "\N{FULLWIDTH DIGIT ONE}".encode(), "\u2028".encode(), b"\x0b", b"1e",
    b"0x10", b"2147483648", b"{", b"\n", b"\r", b"3 Nb Ta W", b"2 Nb Nb", b"True",
])


def tables(n=2):
    rng = np.random.default_rng(0)
    head = {"elements": ("Nb", "W")[:n], "drho": 0.5, "dr_A": 0.25, "cutoff_A": 2.5, "numbers": (41, 74)[:n],
            "masses_amu": (92.9, 183.8)[:n], "lattice_constants_A": (3.3, 3.16)[:n], "lattices": ("bcc", "")[:n],
            "comments": ("a", "b", "c")}
    draw = lambda *shape: rng.normal(size=shape)
    setfl = Setfl(embedding=draw(n, 7), density=draw(n, 9), pair=draw(n * (n + 1) // 2, 9), **head)
    fs = FsFile(embedding=draw(n, 7), density=draw(n, n, 9), pair=draw(n * (n + 1) // 2, 9), **head)
    funcfl = Funcfl(41, 92.9, 3.3, "bcc", 0.5, 0.25, 2.5, draw(7), draw(9), draw(9), "a comment")
    return setfl, fs, funcfl


def small_learnable():
    return kit.learnable_eam(pair_functions=2, density_functions=2)


FORMATS = {
    "eam.alloy": (read_setfl, SetflError, lambda path: write_setfl(path, tables()[0])),
    "eam.fs": (read_fs, FsError, lambda path: write_fs(path, tables()[1])),
    "eam": (read_funcfl, FuncflError, lambda path: write_funcfl(path, tables()[2])),
    "json": (potential_from_json, PotentialJsonError, lambda path: potential_to_json(small_learnable(), path)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def valid(folder):
    """The bytes of one valid file per format."""
    out = {}
    for suffix, (_, _, write) in FORMATS.items():
        path = folder / f"valid.{suffix}"
        write(path)
        out[suffix] = path.read_bytes()
    return out


def check(folder, suffix, content):
    """The reader and ``load_potential`` on these bytes."""
    read, error_type, _ = FORMATS[suffix]
    path = folder / f"case.{suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is dropped, as LAMMPS does")
        check_outcome(read, error_type, path)
        check_outcome(load_potential, PotentialFileError, path)


def check_outcome(read, error_type, path):
    """A valid object, or an error of this type that names the file; returns its text."""
    message = ""
    try:
        check_valid(read(path))
    except error_type as error:
        message = str(error)
    assert not message or str(path) in message
    return message


def check_valid(found):
    if isinstance(found, AbstractPotential):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
        assert found.cutoff > 0
        assert len(set(found.elements)) == len(found.elements) > 0
    else:
        # Its own checks once more.
        dataclasses.replace(found)


@pytest.mark.parametrize("suffix", FORMATS)
@EXAMPLES
@given(content=st.binary(max_size=400) | st.text(alphabet="0123456789.eE+-# \nNbTaW", max_size=400).map(str.encode))
def test_any_bytes(folder, suffix, content):
    check(folder, suffix, content)


@pytest.mark.parametrize("suffix", FORMATS)
@EXAMPLES
@given(data=st.data())
def test_any_mutation_of_a_valid_file(folder, valid, suffix, data):
    """Words replaced or removed, lines doubled or lost, bytes inserted, the end cut off."""
    content = valid[suffix]
    for _ in range(data.draw(st.integers(1, 3))):
        content = mutated(content, data)
    check(folder, suffix, content)


def mutated(content, data):
    kind = data.draw(st.sampled_from(["word", "word", "line lost", "line doubled", "bytes", "cut", "lines swapped"]))
    lines = content.split(b"\n")
    # The header is where most can go wrong.
    place = lambda count: min(data.draw(st.integers(0, 8) | st.integers(0, max(0, count - 1))), max(0, count - 1))
    if kind == "word":
        at = place(len(lines))
        words = lines[at].split(b" ")
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(ODD_WORDS | st.binary(max_size=8))
        lines[at] = b" ".join(words)
    elif kind == "line lost":
        del lines[place(len(lines))]
    elif kind == "line doubled":
        at = place(len(lines))
        lines.insert(at, lines[at])
    elif kind == "lines swapped":
        a, b = place(len(lines)), place(len(lines))
        lines[a], lines[b] = lines[b], lines[a]
    elif kind == "bytes":
        at = data.draw(st.integers(0, len(content)))
        return content[:at] + data.draw(ODD_WORDS | st.binary(max_size=8)) + content[at:]
    else:
        return content[: data.draw(st.integers(0, len(content)))]
    return b"\n".join(lines)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8)


@EXAMPLES
@given(field=st.sampled_from([*LEAVES, *STATIC]), value=VALUES)
def test_any_value_of_a_json_field(folder, valid, field, value):
    """The error names the field, if there is one."""
    content = json.loads(valid["json"]) | {field: value}
    path = folder / "field.json"
    path.write_text(json.dumps(content))
    message = check_outcome(potential_from_json, PotentialJsonError, path)
    # A number of elements that changes makes the tables wrong, not the elements.
    assert not message or field in message or field == "elements"


@pytest.mark.parametrize(("field", "value"), [
    ("pair", [[1.0, 2.0], [3.0]]), ("pair", 1.0), ("pair", []), ("density", [["1", "2"]] * 4),
    ("embedding_root", [True] * 4), ("embedding_root", [None] * 4), ("embedding_series", [[1.0, 2.0]] * 3),
    ("cutoff", "5.5"), ("cutoff", -1.0), ("inner_A", 7.0), ("rho0", 0.0), ("core_eV", float("nan")),
    ("elements", ["Nb", "Nb", "Ta", "W"]), ("elements", "NbTa"), ("elements", [1, 2, 3, 4]),
    ("pair", [[float("inf"), 1.0]] * 10)])
def test_json_errors_name_the_field(folder, valid, field, value):
    path = folder / "named.json"
    path.write_text(json.dumps(json.loads(valid["json"]) | {field: value}))
    with pytest.raises(PotentialJsonError, match=rf"named\.json: .*{field}"):
        potential_from_json(path)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "not JSON"), (b"[1, 2]", "holds a list"), (b"\xff\xfe\x00", "not JSON"), (b"[" * 100000, "not JSON"),
    (b'{"pair": ' + b"9" * 5000 + b"}", "not JSON"), (b"{}", "missing pair, density")])
def test_json_that_is_no_potential(folder, content, message):
    path = folder / "none.json"
    path.write_bytes(content)
    with pytest.raises(PotentialJsonError, match=message):
        potential_from_json(path)


@pytest.mark.parametrize("count", ["1000000000000", "2147483647"])
@pytest.mark.parametrize("suffix", ["eam.alloy", "eam.fs", "eam"])
def test_a_header_does_not_make_us_allocate(folder, valid, suffix, count):
    lines = valid[suffix].decode().split("\n")
    at = 2 if suffix == "eam" else 4
    for place in (0, 2):
        words = lines[at].split()
        words[place] = count
        path = folder / f"large.{suffix}"
        path.write_text("\n".join([*lines[:at], " ".join(words), *lines[at + 1 :]]))
        tracemalloc.start()
        try:
            with pytest.raises(FORMATS[suffix][1], match=str(path)):
                FORMATS[suffix][0](path)
            assert tracemalloc.get_traced_memory()[1] < 2e6
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["eam.alloy", "eam.fs", "eam"])
def test_an_absurd_cutoff_is_refused_with_its_line(folder, valid, suffix):
    lines = valid[suffix].decode().split("\n")
    at = 2 if suffix == "eam" else 4
    lines[at] = " ".join([*lines[at].split()[:4], "550"])
    path = folder / f"far.{suffix}"
    path.write_text("\n".join(lines))
    for read, error_type in ((FORMATS[suffix][0], FORMATS[suffix][1]), (load_potential, PotentialFileError)):
        with pytest.raises(error_type, match=rf"far\.{suffix}, line {at + 1}: cutoff is 550 Å.*correct"):
            read(path)


def test_an_absurd_cutoff_of_any_format_is_refused(folder, valid):
    path = folder / "far.json"
    path.write_text(json.dumps(json.loads(valid["json"]) | {"cutoff": 550.0}))
    snap = folder / "far.snapcoeff"
    snap.write_text("1 3\nW 0.5 1\n-2.9\n0.1\n0.2\n")
    snap.with_suffix(".snapparam").write_text("rcutfac 550\ntwojmax 1\n")
    for file in (path, snap):
        with pytest.raises(PotentialFileError, match=rf"(?s){file.name}.*550 Å.*100 Å: correct"):
            load_potential(file)


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)


@EXAMPLES
@given(comments=st.tuples(LINE, LINE, LINE), exponent=st.integers(-300, 300), n=st.integers(1, 2))
def test_what_is_written_is_read_back(folder, comments, exponent, n):
    """To the last bit, for numbers of any size and comments of any characters."""
    formats = ((read_setfl, write_setfl), (read_fs, write_fs), (read_funcfl, write_funcfl))
    for content, (read, write) in zip(tables(n), formats, strict=True):
        fitting = {"comment": comments[0]} if isinstance(content, Funcfl) else {"comments": comments}
        content = dataclasses.replace(content, embedding=content.embedding * 10.0**exponent, **fitting)
        again = read(write(folder / "round", content))
        assert same_content(again, content)
        assert all(getattr(again, name) == value for name, value in fitting.items())

"""Configurations: strict YAML, overrides, and errors that say where and what to do, all at once."""

import typing
from pathlib import Path

import pytest
from pydantic import ValidationError

from hea_jax.app.config import ConfigError, load_config
from hea_jax.app.config.describe import fields_table
from hea_jax.app.config.document import parse_document
from hea_jax.app.config.load import field_paths
from hea_jax.app.config.models import Config

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = """\
name: study
data:
  source: gpaw_nbmotaw
alloy:
  composition: {Nb: 0.5, Mo: 0.5}
  lattice_guess_A: 3.2
calibration:
  target_shear_GPa: 90
  target_uncertainty_GPa: 5
  source: somebody 2020
"""


def problems_of(tmp_path, text, overrides=()):
    """The problems of a configuration text, as (line or override, field, message, remedy)."""
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return [(p.place.line or p.place.source, p.field, p.message, p.remedy) for p in caught.value.problems]


# Those of `hea-jax dft` and `hea-jax fit` have tests of their own.
CHAINS = sorted(path for path in CONFIGS.glob("*.yaml") if not path.name.startswith(("dft_", "fit_")))


@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.name)
def test_shipped_configurations_load(path):
    config = load_config(path)
    assert config.name == path.stem
    assert config.calibration.source


def test_the_test_size_says_so():
    assert "TEST SIZE" in (CONFIGS / "nbmotaw_small.yaml").read_text()


def test_minimal_configuration_has_defaults_and_is_frozen(tmp_path):
    (tmp_path / "a.yaml").write_text(MINIMAL)
    config = load_config(tmp_path / "a.yaml")
    assert config.rve.grid == (48, 48, 48)
    assert config.tables.self_diffusion_m2_per_s["W"].energy_kJ_per_mol == 585.0
    assert "Frost & Ashby 1982" in config.tables.source
    with pytest.raises(ValidationError):
        config.rve.n_grains = 3


def test_all_errors_at_once_with_line_field_and_remedy(tmp_path):
    text = MINIMAL.replace("name: study", "name: a b").replace("lattice_guess_A: 3.2", "latice_guess_A: 3.2")
    text = text.replace("Mo: 0.5", "Mo: 0.4") + "rve:\n  n_grains: 1\n  n_grains: 2\nfit:\n  cutoff: 5.0\n"
    found = problems_of(tmp_path, text, ("alloy.n_cells=2", "nonsense", "fit.n_radial=[1"))
    assert [(place, field) for place, field, _, _ in found] == [
        (1, "name"),
        (4, "alloy.lattice_guess_A"),
        (5, "alloy.composition"),
        (6, "alloy.latice_guess_A"),
        (12, "rve.n_grains"),
        (13, "rve.n_grains"),
        (15, "fit.cutoff"),
        ("--set alloy.n_cells=2", "alloy.n_cells"),
        ("--set fit.n_radial=[1", ""),
        ("--set nonsense", ""),
    ]
    remedies = {field: remedy for _, field, _, remedy in found}
    assert "`lattice_guess_A`?" in remedies["alloy.latice_guess_A"]
    assert "`cutoff_A`?" in remedies["fit.cutoff"]
    assert remedies["alloy.composition"].endswith("{Nb: 0.555556, Mo: 0.444444}")
    assert all(remedy for *_, remedy in found)


def test_the_message_names_the_file(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(MINIMAL + "extra: 1\n")
    with pytest.raises(ConfigError, match=rf"1 problem .*\n{path}:11: extra: no such field\n    remedy: the fields"):
        load_config(path)


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ("lattice_guess_A: 3.2", "lattice_guess_A: '3.2'", "alloy.lattice_guess_A", "without quotes"),
        ("lattice_guess_A: 3.2", "lattice_guess_A: .nan", "alloy.lattice_guess_A", "cubic lattice constant"),
        ("lattice_guess_A: 3.2", "lattice_guess_A: -1", "alloy.lattice_guess_A", "more than 0"),
        ("lattice_guess_A: 3.2", "lattice_guess_A: 3.2\n  repeats: [2, 2]", "alloy.repeats", "3 entries"),
        ("lattice_guess_A: 3.2", "lattice_guess_A: 3.2\n  repeats: [2, 2, 2]", "alloy.repeats", "[4, 4, 4]"),
        ("lattice_guess_A: 3.2", "lattice_guess_A: 3.2\n  lattice: hcp", "alloy.lattice", "'bcc' or 'fcc'"),
        ("lattice_guess_A: 3.2", "lattice_guess_A: 3.2\n  n_cells: true", "alloy.n_cells", "whole number"),
        ("lattice_guess_A: 3.2", "lattice_guess_A: 3.2\n  mixing_compositions: [{Nb: 0.5}]",
         "alloy.mixing_compositions[0]", "{Nb: 1}"),
        ("{Nb: 0.5, Mo: 0.5}", "{Nb: 0.5, Xx: 0.5}", "alloy.composition", "chemical symbols"),
        ("source: somebody 2020", "source: ' '", "calibration.source", "short text"),
        ("  source: somebody 2020\n", "", "calibration.source", "where the target comes from"),
        ("source: gpaw_nbmotaw", "source: absent.extxyz", "data.source", "packaged set"),
        ("alloy:\n", "gradient:\n  relative_steps: [1e-4, 1e-5]\nalloy:\n", "gradient.relative_steps", "1e-05, 0.0001"),
    ],
)  # fmt: skip
def test_wrong_values(tmp_path, old, new, field, words):
    assert old in MINIMAL
    ((_, found, _, remedy),) = problems_of(tmp_path, MINIMAL.replace(old, new))
    assert (found, words in remedy) == (field, True), remedy


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E5", 1e5), ("1.", 1.0), (".5", 0.5), ("-2", -2), ("+3", 3), ("0", 0), ("true", True),
        ("No", "No"), ("on", "on"), ("y", "y"), ("yes", "yes"), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"), ("0x10", "0x10"), ("~", None), ("null", None), ("'1e-3'", "1e-3"), ("", None),
        ("[1, [2.5, a]]", (1, (2.5, "a"))), ("Å", "Å"),
    ],
)  # fmt: skip
def test_scalars(text, value):
    document = parse_document(f"x: {text}\n", "test")
    assert document.problems == []
    assert document.data == {"x": value}
    assert type(document.data["x"]) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: &x 1\nb: 2", 1, "anchor"),
        ("a: 1\nb: *x", 2, "alias"),
        ("a: {b: 1}\nc:\n  <<: {d: 1}", 3, "merge key"),
        ("a: !!python/object/apply:os.system [ls]", 1, "tag"),
        ("a: !!str 1", 1, "tag"),
        ("a: 1\na: 2", 2, "duplicate key (first on line 1)"),
        ("a:\n  b: 1\n  'b': 2", 3, "duplicate key"),
        ("a: 010", 1, "leading zero"),
        ("a: " + "9" * 5000, 1, "digits"),
        ("a: 1\n---\nb: 2", 2, "document"),
        ("a:\n\tb: 1", 2, "not valid YAML"),
        ("a: b: c", 1, "not valid YAML"),
        ("a: [1, 2", 1, "not valid YAML"),
        ("? [1, 2]\n: 3", 1, "list or a mapping"),
        ("a: \x00", 1, "not allowed"),
        ("[" * 5000, 1, "nested too deeply"),
    ],
)
def test_yaml_traps(text, line, words):
    (problem, *_) = parse_document(text, "test").problems
    assert words in problem.message
    assert problem.place.line in (line, line + 1)
    assert problem.remedy


def test_tabs_get_their_own_remedy():
    (problem,) = parse_document("a:\n\tb: 1", "test").problems
    assert problem.remedy == "indent with spaces, not with tabs"


def test_a_billion_laughs_is_not_expanded():
    lines = [f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)]
    laughs = "a: &a [x, x]\n" + "".join(lines)
    assert len(parse_document(laughs, "test").problems) == 9 + 16


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"- 1\n- 2\n", "no named fields"), (b"\xff\xfe", "not UTF-8"), (None, "no such file")],
)
def test_odd_files(tmp_path, content, words):
    path = tmp_path / "odd.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert words in str(caught.value)


def test_a_byte_order_mark_is_harmless(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(tmp_path / "a.yaml").name == "study"


def test_overrides(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(MINIMAL)
    config = load_config(path, ("rve.grid=[8, 8, 8]", "fit.weights.energy_scale_eV=1e-3", "seed=3", "seed=4",
                                "alloy.composition={W: 1.0}", "calibration.source=a = b"))  # fmt: skip
    assert config.rve.grid == (8, 8, 8)
    assert config.fit.weights.energy_scale_eV == 1e-3
    assert config.seed == 4
    assert config.alloy.composition == {"W": 1.0}
    assert config.calibration.source == "a = b"


@pytest.mark.parametrize(
    ("override", "field", "words"),
    [
        ("rve.n_grain=3", "rve.n_grain", "did you mean `n_grains`?"),
        ("lbfgs_steps=3", "lbfgs_steps", "did you mean `fit.lbfgs_steps`?"),
        ("seed.x=1", "seed.x", "`seed`"),
        ("rve.grid.0=3", "rve.grid.0", "--set rve.grid=..."),
        ("rve", "", "section.field=value"),
        (".x=1", "", "section.field=value"),
        ("rve.n_grains=", "rve.n_grains", "whole number"),
        ("rve={n_grains: 1}", "rve.n_grains", "at least 2"),
        ("rve.n_grains=*x", "", "aliases are not read"),
    ],
)
def test_wrong_overrides_are_named(tmp_path, override, field, words):
    text = MINIMAL + "seed: 1\nrve:\n  grid: [8, 8, 8]\n"
    ((place, found, _, remedy),) = problems_of(tmp_path, text, (override,))
    assert (place, found) == (f"--set {override}", field)
    assert words in remedy


def test_an_override_mends_a_wrong_field(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(MINIMAL + "seed: x\n")
    assert load_config(path, ("seed=2",)).seed == 2


def test_every_field_is_described_with_its_unit():
    paths = field_paths(Config)
    assert len(paths) == fields_table().row_count > 40
    for path in paths:
        section = Config
        for part in path[:-1]:
            annotation = section.model_fields[part].annotation
            # An optional section stands in a union with None.
            section = next((a for a in typing.get_args(annotation) if hasattr(a, "model_fields")), annotation)
        assert section.model_fields[path[-1]].description, path


@pytest.mark.parametrize(
    ("override", "field", "message", "remedy"),
    [
        ("alloy.mixing_compositions=[{Mo: 0.5, Ta: 0.5}]", "alloy", "no Nb-Mo, Nb-Ta", "leave mixing_compositions out"),
        ("component.tip_temperature_K=1600", "component", "300 to 1500 K", "widen dynamics.expansion_temperatures_K"),
        ("fe2.rve_voxels=64", "fe2", "larger than the RVE", "write 48 or less"),
        ("segregation.grid=[130, 128]", "segregation.grid", "multiples of 4", "write [132, 128]"),
        ("tables.self_diffusion_m2_per_s={W: {prefactor: 1.0, energy_kJ_per_mol: 500.0}}", "tables",
         "has no Mo, Nb, Ta", "add them"),
    ],
)  # fmt: skip
def test_sections_that_do_not_fit_each_other_are_refused_before_anything_runs(override, field, message, remedy):
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS / "nbmotaw.yaml", (override,))
    (problem,) = caught.value.problems
    assert problem.field == field
    assert message in problem.message
    assert remedy in problem.remedy

"""The report is one file without links to elsewhere; its figures are what they say."""

import base64
import re
from html.parser import HTMLParser

import fake_chain
import numpy as np
import pytest

from hea_jax.app import plots
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.report.diagram import chain_svg
from hea_jax.app.report.format import quantity, with_uncertainty
from hea_jax.app.runs import Stage, StageFailed, StageResult, run_chain

VOID = {"meta", "img", "br", "path", "rect"}


class Links(HTMLParser):
    """Collects links and checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.links, self.open, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag, tag


def drawn(config, inputs, context):
    """A stage with a figure."""
    figure = plots.convergence({"PBC": [1, 0.1, 0.01]}, tolerance=0.1)
    sections = (ReportSection("Drawn", figures=[ReportFigure("residuals", "Residuals & more", figure)]),)
    return StageResult(sections=sections)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of the fake chain with a figure."""
    folder = tmp_path_factory.mktemp("report")
    run_chain((*fake_chain.STAGES, Stage("drawn", drawn, ("third",))), fake_chain.FakeConfig(), folder)
    return folder, (folder / "report.html").read_text(encoding="utf-8")


def test_report_is_self_contained(page):
    folder, html = page
    parser = Links()
    parser.feed(html)
    assert parser.open == []
    assert not {"script", "link", "iframe", "object", "embed"} & set(parser.tags)
    assert not re.search(r"https?://|url\((?!#)|@import", html)
    for link in parser.links:
        if link.startswith("#"):
            assert f"id='{link[1:]}'" in html
        elif link.startswith("data:image/png;base64,"):
            assert base64.b64decode(link.split(",")[1]).startswith(b"\x89PNG")
        else:
            assert (folder / link).is_file(), link
    assert sum(link.startswith("data:") for link in parser.links) == 1
    assert (folder / "stages" / "drawn" / "residuals.png").is_file()


def test_report_says_what_the_stages_say(page):
    _, html = page
    for text in ("Second &lt;stage&gt;", "<p>First paragraph.</p>", "<p>Second &amp; last.</p>", "is finite",
                 "this chain is fake", "Residuals &amp; more", "All numbers of this stage (1)",
                 "Seconds per stage"):  # fmt: skip
        assert text in html
    mean = re.search(r"class=\"number\">mean = ([^<]+)<", html)
    assert mean
    assert re.fullmatch(r"−?\d\.\d+ ± \d\.\d+ GPa", mean[1])


def test_two_figures_of_one_name_are_refused(tmp_path):
    def twice(config, inputs, context):
        figures = [ReportFigure("same", "a", plots.convergence({"x": [1.0]})) for _ in range(2)]
        return StageResult(sections=(ReportSection("Twice", figures=figures),))

    with pytest.raises(StageFailed, match="two figures or files are called 'same\\.png'"):
        run_chain((Stage("twice", twice),), fake_chain.FakeConfig(), tmp_path)


def test_table_rows_must_fit():
    with pytest.raises(ValueError, match="a row has 1 cells, not 2"):
        Table(["a", "b"], [[1]])


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [
        (3.24123, 0.00031, "3.24123 ± 0.00031"), (-110.4, 2.3, "−110.4 ± 2.3"), (312.44, 21.0, "312 ± 21"),
        (1234.5, 340.0, "1230 ± 340"), (1e9, 1e7, "1e+09 ± 1e+07"), (1.5, None, "1.5"), (1.5, 0.0, "1.5"),
        (3, None, "3"), (-1e-7, None, "−1e−07"), ([1.0, 2.0], [0.1, None], "[1.00 ± 0.10, 2]"),
        ([[1, 2], [3, 4]], None, "array 2 × 2"),
        (True, None, "True"), ("hierarchical", None, "hierarchical"), (None, None, "–"), ([], None, "[]"),
    ],
)  # fmt: skip
def test_numbers_as_text(value, uncertainty, text):
    assert with_uncertainty(value, uncertainty) == text
    assert quantity({"value": value, "uncertainty": uncertainty, "unit": "GPa"}) == f"{text} GPa"
    assert quantity({"value": value, "uncertainty": uncertainty, "unit": "1"}) == text


def test_the_diagram_has_a_box_per_stage_and_an_arrow_per_need():
    boxes = [("a", "A & B", ["x = 1 GPa", "y < 2"]), ("b", "B", []), ("c", "C", [])]
    svg = chain_svg(boxes, [("a", "b"), ("a", "c"), ("b", "c")])
    assert (svg.count("<rect"), svg.count("marker-end"), svg.count('class="number"')) == (3, 3, 2)
    assert "A &amp; B" in svg
    assert "y &lt; 2" in svg


def pixels(figure):
    """A figure as an array, drawn without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def figures():
    """One of each figure."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=40)
    groups = ["bcc", "fcc"] * 20
    parity = plots.Parity("Energy", "eV/atom", reference, reference + 0.01, groups, np.arange(40) % 5 == 0)
    degenerate = plots.Bounds("K", 180.0, 180.0, 180.0, 180.0, {"PBC": 180.0})
    bounds = plots.Bounds("G", 35.0, 37.0, 38.0, 40.0, {"SUBC": 36.0, "PBC": 37.5, "KUBC": 39.0})
    return {
        "parity": plots.parity_plots([parity, parity]),
        "one point": plots.parity_plots([plots.Parity("E", "eV", [1.0], [1.0], ["a"], [False])]),
        "bars": plots.bar_chart(["MoTa", "W"], [-110.0, 3.0], [2.0, None], ylabel="H (meV)", references={"W": 1.0}),
        "grains": plots.grains_slice(rng.integers(0, 5, (6, 8)), (1.0, 2.0), title="z = 0"),
        "field": plots.field_slice(rng.normal(size=(6, 8)), (1.0, 1.0), label="stress (GPa)"),
        "zero": plots.field_slice(np.zeros((4, 4)), (1.0, 1.0), label="stress (GPa)", centred=True),
        "convergence": plots.convergence({"PBC": [1, 0.1], "KUBC": [1, 0.5, 0.1]}, tolerance=1e-3),
        "trade-off": plots.trade_off([1, 1.02], [10, 0.1], ["0", "1"], xlabel="x", ylabel="y", chosen=1, limit=2.0),
        "bounds": plots.bounds_strip([degenerate, bounds], unit="GPa"),
    }


def test_figures_draw_with_labels_and_without_pyplot():
    import sys

    for name, figure in figures().items():
        image = pixels(figure)
        assert image[..., :3].std() > 5, name
        assert (image[0, 0, :3] == 255).all(), name
        for axes in figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel() or axes.get_label() == "<colorbar>", name
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_parity_states_the_errors_of_both_parts():
    texts = [text.get_text() for text in figures()["parity"].axes[0].texts]
    assert texts == ["RMSE fitted 0.01\nRMSE held out 0.01"]


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in "ab":
        run_chain((Stage("drawn", drawn),), fake_chain.FakeConfig(), tmp_path / name)
    a, b = ((tmp_path / name / "stages" / "drawn" / "residuals.png").read_bytes() for name in "ab")
    assert a == b

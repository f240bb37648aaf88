"""Line plots of the report."""

import numpy as np

from hea_jax.app.plots_curves import Curve, Panel, panels


def test_panels_draw_what_they_are_given(tmp_path):
    x = np.arange(4.0)
    figure = panels([
        Panel("time (ps)", "temperature (K)", [Curve("run", x, x**2), Curve("", x, x, marks=True)], {"target": 3.0}),
        Panel("T (K)", "a (Å)", [Curve("a", x + 1, x + 1, np.full(4, 0.1))], log_y=True, log_x=True),
    ])
    first, second = figure.axes
    assert (first.get_xlabel(), first.get_ylabel()) == ("time (ps)", "temperature (K)")
    np.testing.assert_array_equal(first.lines[0].get_ydata(), x**2)
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["run", "target"]
    assert second.get_xscale() == second.get_yscale() == "log"
    figure.savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000

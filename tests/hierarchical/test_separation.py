"""Scale separation: the verdict, its reason and its edges."""

import pytest

from hea_jax.hierarchical.separation import Verdict, separate_scales


def test_millimetre_component_is_hierarchical():
    found = separate_scales(component_nm=1e6, rve_nm=100.0, heterogeneity_nm=5.0)
    assert found.epsilon == pytest.approx(1e-4, rel=1e-14)
    assert found.heterogeneity_ratio == pytest.approx(0.05, rel=1e-14)
    assert found.verdict is Verdict.HIERARCHICAL
    assert found.verdict.value == "hierarchical"
    assert "0.0001" in found.reason
    assert "0.05" in found.reason


@pytest.mark.parametrize(("component", "rve", "xi", "verdict", "words"), [
    (1e6, 20.0, 5.0, Verdict.RESIZE, "too small"),
    (1e6, 5e5, 5.0, Verdict.RESIZE, "too large"),
    (300.0, 100.0, 5.0, Verdict.CONCURRENT, "resolve"),
    (100.0, 50.0, 50.0, Verdict.CONCURRENT, "resolve"),
    (1e3, 2e3, 5.0, Verdict.RESIZE, "too large"),
    (1000.0, 100.0, 10.0, Verdict.HIERARCHICAL, "≤"),
])
def test_verdicts(component, rve, xi, verdict, words):
    found = separate_scales(component_nm=component, rve_nm=rve, heterogeneity_nm=xi)
    assert found.verdict is verdict
    assert words in found.reason
    smallest, largest = found.window_nm
    assert (smallest <= largest) == (verdict is not Verdict.CONCURRENT)


def test_a_resized_rve_separates_the_scales():
    found = separate_scales(component_nm=1e6, rve_nm=20.0, heterogeneity_nm=5.0)
    for size in found.window_nm:
        again = separate_scales(component_nm=1e6, rve_nm=size, heterogeneity_nm=5.0)
        assert again.verdict is Verdict.HIERARCHICAL


def test_limits_can_be_chosen():
    strict = separate_scales(component_nm=1e6, rve_nm=100.0, heterogeneity_nm=5.0, max_heterogeneity=0.01)
    assert strict.verdict is Verdict.RESIZE


@pytest.mark.parametrize("name", ["component_nm", "rve_nm", "heterogeneity_nm", "max_epsilon", "max_heterogeneity"])
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_lengths_must_be_positive(name, bad):
    good = {"component_nm": 1e6, "rve_nm": 100.0, "heterogeneity_nm": 5.0}
    with pytest.raises(ValueError, match=name):
        separate_scales(**{**good, name: bad})

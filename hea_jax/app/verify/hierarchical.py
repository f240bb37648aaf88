"""Reference cases of hierarchical coupling: the verdict on scale separation."""

from hea_jax.app.verify.rows import Case, Check
from hea_jax.hierarchical.separation import Verdict, separate_scales


def _separation() -> list[Check]:
    found = separate_scales(component_nm=1e6, rve_nm=100.0, heterogeneity_nm=5.0)
    tight = separate_scales(component_nm=300.0, rve_nm=100.0, heterogeneity_nm=5.0)
    source = "Geers et al. 2010"
    return [
        Check("1 mm, 100 nm, 5 nm: L_RVE/L", found.epsilon, 1e-4, "1", 1e-16, source),
        Check("1 mm, 100 nm, 5 nm: xi/L_RVE", found.heterogeneity_ratio, 0.05, "1", 1e-15, source),
        Check(f"1 mm, 100 nm, 5 nm: verdict {found.verdict.value}", float(found.verdict is Verdict.HIERARCHICAL), 1.0,
              "1 if hierarchical", 0.0, source),
        Check(f"300 nm, 100 nm, 5 nm: verdict {tight.verdict.value}", float(tight.verdict is Verdict.CONCURRENT), 1.0,
              "1 if concurrent", 0.0, "no RVE size is both representative and small"),
    ]


def cases() -> list[Case]:
    """The reference cases of hierarchical coupling."""
    return [Case("hierarchical", "scale separation", _separation)]

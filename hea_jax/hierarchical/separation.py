"""Are scales separated enough to pass properties up (hierarchical), or must both be solved together (concurrent)?

Two ratios decide: ε = L_RVE/L (fields must be smooth over the RVE; first-order homogenisation errs by O(ε)) and
ξ/L_RVE (the RVE must hold many heterogeneities; Drugan & Willis 1996 need L_RVE/ξ of 2 to 5 for 5% to 1% error
of the mean, contrasts and fluctuations more). One order of magnitude each is the default demand.

Sources: Hashin 1983 (micro ≪ mini ≪ macro); Drugan & Willis 1996; Kanit et al. 2003; Geers, Kouznetsova & Brekelmans
2010.
"""

import dataclasses
import enum
import math

MAX_EPSILON = 0.1
"""Largest admissible L_RVE/L."""

MAX_HETEROGENEITY = 0.1
"""Largest admissible ξ/L_RVE."""


class Verdict(enum.Enum):
    """What to do about two scales."""

    HIERARCHICAL = "hierarchical"
    """Both ratios are small: homogenise, then use the effective law."""

    RESIZE = "resize"
    """This RVE does not separate the scales, another size does."""

    CONCURRENT = "concurrent"
    """No RVE size separates the scales: resolve the heterogeneity in the component."""


@dataclasses.dataclass(frozen=True)
class ScaleSeparation:
    """Lengths (nm), their ratios, the verdict and its reason in words.

    ``window_nm``: admissible RVE sizes (smallest, largest); smallest > largest if there is none.
    """

    heterogeneity_nm: float
    rve_nm: float
    component_nm: float
    epsilon: float
    heterogeneity_ratio: float
    window_nm: tuple[float, float]
    verdict: Verdict
    reason: str


def separate_scales(*, component_nm: float, rve_nm: float, heterogeneity_nm: float, windows: int = 1,
                    max_epsilon: float = MAX_EPSILON, max_heterogeneity: float = MAX_HETEROGENEITY) -> ScaleSeparation:
    """Verdict for a component of size L (or of the wavelength of its load), an RVE and a heterogeneity size ξ (nm).

    Averages over ``windows`` independent RVEs have the scatter of one that is windows^⅓ times larger (Kanit et al.
    2003), so that ξ counts against that length. A ratio equal to its limit is admissible. Raises ``ValueError`` for
    lengths or limits that are not positive and finite.
    """
    given = {"component_nm": component_nm, "rve_nm": rve_nm, "heterogeneity_nm": heterogeneity_nm,
             "max_epsilon": max_epsilon, "max_heterogeneity": max_heterogeneity}
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    if windows < 1:
        raise ValueError(f"windows must be at least 1, got {windows}")
    several = windows ** (1 / 3)
    epsilon, ratio = rve_nm / component_nm, heterogeneity_nm / (several * rve_nm)
    window = heterogeneity_nm / (several * max_heterogeneity), max_epsilon * component_nm
    smooth, representative = epsilon <= max_epsilon, ratio <= max_heterogeneity
    length = "L_RVE" if windows == 1 else f"({windows}^⅓ L_RVE)"
    facts = (f"ε = L_RVE/L = {epsilon:.3g} ({'≤' if smooth else '>'} {max_epsilon:g}), "
             f"ξ/{length} = {ratio:.3g} ({'≤' if representative else '>'} {max_heterogeneity:g})")
    if smooth and representative:
        verdict, why = Verdict.HIERARCHICAL, "the RVE is small against the component and large against its content"
    elif window[0] <= window[1]:
        fault = "too large for the component" if not smooth else "too small for its heterogeneities"
        verdict = Verdict.RESIZE
        why = f"the RVE is {fault}; sizes from {window[0]:.4g} to {window[1]:.4g} nm separate the scales"
    else:
        verdict = Verdict.CONCURRENT
        why = (f"an RVE would have to be larger than {window[0]:.4g} nm to be representative and smaller than "
               f"{window[1]:.4g} nm for smooth fields: resolve the heterogeneity where it matters")
    return ScaleSeparation(heterogeneity_nm, rve_nm, component_nm, epsilon, ratio, window, verdict, f"{facts}: {why}")

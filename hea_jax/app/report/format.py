"""Numbers as a reader wants them: value and uncertainty to the same digit, with the unit."""

import math
from collections.abc import Mapping
from typing import Any

_MAX_INLINE = 12


def quantity(number: Mapping[str, Any]) -> str:
    """A number of the summary as text: ``3.2412(3)`` is written ``3.2412 ± 0.0003 Å``."""
    unit = "" if number["unit"] in ("", "1") else f" {number['unit']}"
    return with_uncertainty(number["value"], number["uncertainty"]) + unit


def with_uncertainty(value: Any, uncertainty: Any = None) -> str:
    """A value (number, text or list) with its uncertainty."""
    if isinstance(value, list):
        spread = uncertainty if isinstance(uncertainty, list) else [None] * len(value)
        if len(value) > _MAX_INLINE or any(isinstance(item, list) for item in value):
            return f"array {' × '.join(map(str, _shape(value)))}"
        return "[" + ", ".join(with_uncertainty(v, u) for v, u in zip(value, spread, strict=True)) + "]"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if not isinstance(uncertainty, int | float) or uncertainty <= 0 or not math.isfinite(uncertainty):
        return plain_number(value)
    # Two digits of the uncertainty, and the value to the same place.
    digits = 1 - math.floor(math.log10(uncertainty))
    if -3 <= digits <= 8 and abs(value) < 1e6:
        decimals = max(digits, 0)
        return f"{round(value, digits):.{decimals}f} ± {round(uncertainty, digits):.{decimals}f}".replace("-", "−")
    return f"{value:.6g} ± {uncertainty:.2g}".replace("-", "−")


def plain_number(value: Any) -> str:
    """A number without uncertainty, to six digits; other values as text."""
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text.replace("-", "−")
    return str(value)


def _shape(value: Any) -> list[int]:
    """The shape of a nested list."""
    return [len(value), *_shape(value[0])] if isinstance(value, list) and value else []

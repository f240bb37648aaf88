"""The unit that a field name carries.

``elastic_constants_GPa`` is in GPa, ``forces_eV_per_A`` in eV/Å, ``expansion_per_K`` in 1/K.
"""

import re

_SYMBOLS = {
    "A": "Å", "A2": "Å²", "A3": "Å³", "nm": "nm", "nm2": "nm²", "nm3": "nm³", "um": "µm", "mm": "mm", "m": "m",
    "m2": "m²", "m3": "m³", "eV": "eV", "meV": "meV", "J": "J", "GPa": "GPa", "MPa": "MPa", "Pa": "Pa", "K": "K",
    "fs": "fs", "ps": "ps", "s": "s", "amu": "amu", "kg": "kg", "N": "N", "deg": "°", "rad": "rad",
    "GPa_nm": "GPa nm", "GPa_nm2": "GPa nm²", "kJ": "kJ", "mol": "mol",
}  # fmt: skip
_UNIT = "|".join(sorted(_SYMBOLS, key=len, reverse=True))
_SUFFIX = re.compile(rf"(?:_({_UNIT}))?_per_({_UNIT})\Z|_({_UNIT})\Z")


def unit_of(name: str) -> str:
    """The unit at the end of a field name; empty where the name carries none."""
    match = _SUFFIX.search(name)
    if match is None:
        return ""
    top, bottom, whole = match.groups()
    if whole:
        return _SYMBOLS[whole]
    return f"{_SYMBOLS[top] if top else 1}/{_SYMBOLS[bottom]}"

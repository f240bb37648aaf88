"""The fields of a fit's configuration as tables for ``hea-jax info --fit``."""

from typing import Any

from hea_jax.app.config.describe import fields_table
from hea_jax.app.fit.load import LISTS
from hea_jax.app.fit.models import FitConfig


def fields_tables() -> list[Any]:
    """A ``rich`` table of all fields, and one for each list of sections."""
    lists = [fields_table(f"{name}, each entry: {(model.__doc__ or '').strip()}", model)
             for name, model in LISTS.items()]
    return [fields_table("Fields of a fit", FitConfig), *lists]

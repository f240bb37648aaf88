"""The fields of a configuration as a table for ``hea-jax info --config``."""

from typing import Any

from pydantic import BaseModel

from hea_jax.app.config.load import field_paths, section_type
from hea_jax.app.config.models import Config


def fields_table(title: str = "Fields of a configuration", model: type[BaseModel] = Config) -> Any:
    """Every field of a model with its default and meaning, as a ``rich`` table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", header_style="bold")
    table.add_column("field", no_wrap=True)
    table.add_column("default", overflow="fold")
    table.add_column("meaning", overflow="fold")
    for path in field_paths(model):
        section: Any = model
        for part in path[:-1]:
            section = section_type(section.model_fields[part].annotation)
        field = section.model_fields[path[-1]]
        default = "required" if field.is_required() else str(field.get_default())
        table.add_row(".".join(path), escape(default), escape(field.description or ""))
    return table

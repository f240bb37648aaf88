"""The fields of a campaign's configuration as tables for ``hea-jax info --dft``."""

from typing import Any

from pydantic import BaseModel

from hea_jax.app.config.load import field_paths, section_type
from hea_jax.app.dft.groups import KINDS
from hea_jax.app.dft.models import CampaignSettings


def fields_tables() -> list[Any]:
    """A ``rich`` table of the campaign's fields, and one for each kind of group."""
    kinds = [_table(f"groups, kind {kind}: {(model.__doc__ or '').strip()}", model) for kind, model in KINDS.items()]
    return [_table("Fields of a DFT campaign", CampaignSettings), *kinds]


def _table(title: str, model: type[BaseModel]) -> Any:
    """Every field of a model with its default and meaning."""
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

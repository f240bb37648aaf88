"""The fields of a campaign's configuration as tables for ``hea-jax info --dft``."""

from typing import Any

from hea_jax.app.config.describe import fields_table
from hea_jax.app.dft.groups import KINDS
from hea_jax.app.dft.models import CampaignSettings


def fields_tables() -> list[Any]:
    """A ``rich`` table of the campaign's fields, and one for each kind of group."""
    kinds = [fields_table(f"groups, kind {kind}: {(model.__doc__ or '').strip()}", model)
             for kind, model in KINDS.items()]
    return [fields_table("Fields of a DFT campaign", CampaignSettings), *kinds]

"""Data, split and weights of a fit, read once per process: every stage asks for the same."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from hea_jax.app.fit.data import FitData, fit_weights, load_data, split_of
from hea_jax.app.runs.atomic import canonical_json
from hea_jax.atomistic.fitting import FitWeights
from hea_jax.electronic import Dataset, Split

READS = ("data", "elements", "offsets", "checks", "split", "weights", "seed")
"""Fields of the configuration that ``inputs_of`` reads."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """``data``, its ``split`` and the ``weights`` of its groups."""

    data: FitData
    split: Split
    weights: FitWeights

    def part(self, name: str) -> tuple[Dataset, np.ndarray]:
        """(frames, sources) of ``train``, ``validation`` or ``test``."""
        return self.data.part(self.split.parts[name])

    @property
    def sources(self) -> int:
        """Number of data sources."""
        return len(self.data.sources)


_kept: list[tuple[str, Inputs]] = []


def inputs_of(config: Any, resolve: Callable[[str], Any]) -> Inputs:
    """The inputs of a configuration (or of a stage's view of it); ``resolve`` makes paths of it absolute.

    The last answer is kept, since reading thousands of frames takes longer than most stages. Raises ``DatasetError``.
    """
    base = resolve("")
    plain = [str(base), *([s.model_dump(mode="json") for s in config.data]), config.elements, config.seed,
             *(getattr(config, name).model_dump(mode="json") for name in ("offsets", "checks", "split", "weights"))]
    key = canonical_json(plain)
    if not _kept or _kept[0][0] != key:
        data = load_data(config, base)
        split = split_of(data, config.split, config.seed)
        _kept[:] = [(key, Inputs(data, split, fit_weights(data, config.weights, config.data, split.train)))]
    return _kept[0][1]

"""The data of a fit: sources joined under one list of elements, looked over, split, weighted."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.config.models import PACKAGED_SETS
from hea_jax.app.fit.models import FitConfig, Offsets, Source, SplitSection, Weights
from hea_jax.atomistic.fitting import FitWeights
from hea_jax.electronic import (
    NAMED_KEYS,
    Dataset,
    DatasetError,
    DatasetKeys,
    DatasetReport,
    Split,
    aligned,
    check_dataset,
    find_units,
    given_offsets,
    leave_group_out,
    leave_pair_out,
    load_dataset,
    random_split,
    shipped_dataset,
    split_by_parent,
)

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class FitData:
    """All frames under one list of elements: ``dataset``, the ``source`` (frame,) each came from, names of sources, and
    each source ``whole``, before its filters."""

    dataset: Dataset
    source: np.ndarray
    sources: tuple[str, ...]
    elements: tuple[str, ...]
    whole: tuple[Dataset, ...]

    def part(self, indices) -> tuple[Dataset, np.ndarray]:
        """Dataset and sources of some frames."""
        return self.dataset.select(indices), self.source[np.asarray(indices, int)]


def load_data(config: FitConfig, base: Path) -> FitData:
    """Read and join the sources (float64).

    Energies of isolated atoms are taken off where the configuration gives them. Raises ``DatasetError`` for files that
    break their declaration, elements that the configuration leaves out, and filters that leave nothing.
    """
    whole = tuple(_read(source, config, base) for source in config.data)
    sets = [_filtered(dataset, source, config) for dataset, source in zip(whole, config.data, strict=True)]
    seen = tuple(dict.fromkeys(e for dataset in sets for e in _present(dataset)))
    elements = config.elements or seen
    unused = [e for e in elements if e not in seen]
    if unused:
        raise DatasetError(f"no frame holds {', '.join(unused)}: take it off `elements`, or add data of it")
    labels = _labels(sets, [source.source for source in config.data])
    frames = tuple(f for dataset in sets for f in _indexed(dataset, elements).frames)
    joined = Dataset(frames, tuple(g for groups, _ in labels for g in groups), tuple(n for _, names in labels for n in
                     names), elements, ", ".join(s.source for s in config.data))  # fmt: skip
    joined = _without_lone_atoms(joined, config.offsets)
    origin = np.repeat(np.arange(len(sets)), [len(dataset) for dataset in sets])
    return FitData(joined, origin, tuple(s.source for s in config.data), elements, whole)


def input_files(config: FitConfig, base: Path) -> list[Path]:
    """Files that the data come from, beside those of the package."""
    return [base / Path(s.source).expanduser() for s in config.data if s.source not in PACKAGED_SETS]


def _read(source: Source, config: FitConfig, base: Path) -> Dataset:
    """One source as it is."""
    if source.source in PACKAGED_SETS:
        return shipped_dataset()
    declared = source.declared_keys
    keys = NAMED_KEYS[source.keys] if declared is None else DatasetKeys(**declared.model_dump())
    return load_dataset(base / Path(source.source).expanduser(), keys, check=config.checks.run)


def _filtered(dataset: Dataset, source: Source, config: FitConfig) -> Dataset:
    """The frames of a source that its filters leave."""
    wanted = set(source.elements or config.elements or dataset.elements)
    keep = []
    for n, frame in enumerate(dataset.frames):
        group = dataset.groups[n]
        mine = {dataset.elements[s] for s in np.unique(np.asarray(frame.atoms.species))}
        if group in source.without_groups or (source.groups is not None and group not in source.groups):
            continue
        if mine <= wanted:
            keep.append(n)
    unknown = sorted({*(source.groups or ()), *source.without_groups} - set(dataset.groups))
    if unknown:
        known = ", ".join(sorted(set(dataset.groups)))
        raise DatasetError(f"{source.source} has no group {', '.join(unknown)}: it has {known}")
    if not keep:
        raise DatasetError(f"no frame of {source.source} is left: widen its `groups` and `elements`")
    return dataset.select(keep)


def _present(dataset: Dataset) -> list[str]:
    """Elements that frames hold, in the order of the dataset."""
    held = np.unique(np.concatenate([np.asarray(f.atoms.species) for f in dataset.frames]))
    return [e for n, e in enumerate(dataset.elements) if n in held]


def _labels(sets: Sequence[Dataset], sources: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """(groups, names) of each set; those that several sets have carry the name of their source."""
    out = []
    for n, dataset in enumerate(sets):
        others = [d for m, d in enumerate(sets) if m != n]
        stem = Path(sources[n]).name.split(".")[0]
        prefix = f"{stem}{n}/" if [Path(s).name.split(".")[0] for s in sources].count(stem) > 1 else f"{stem}/"
        groups, names = ({x for d in others for x in getattr(d, field)} for field in ("groups", "names"))
        out.append(([prefix + g if g in groups else g for g in dataset.groups],
                    [prefix + x if x in names else x for x in dataset.names]))
    return out


def _indexed(dataset: Dataset, elements: tuple[str, ...]) -> Dataset:
    """The dataset with species that index ``elements``."""
    if dataset.elements == elements:
        return dataset
    place = np.array([elements.index(e) if e in elements else -1 for e in dataset.elements])
    frames = []
    for frame in dataset.frames:
        species = jnp.asarray(place[np.asarray(frame.atoms.species)], jnp.int32)
        atoms = dataclasses.replace(frame.atoms, species=species, elements=elements)
        frames.append(dataclasses.replace(frame, atoms=atoms))
    return dataclasses.replace(dataset, frames=tuple(frames), elements=elements)


def _without_lone_atoms(dataset: Dataset, offsets: Offsets) -> Dataset:
    """The dataset relative to isolated atoms, where their energies are given."""
    if offsets.table_eV is None:
        return dataset
    return aligned(dataset, given_offsets(offsets.table_eV, dataset.elements))


def findings(data: FitData) -> DatasetReport:
    """``check_dataset`` of each source alone (references may differ) and whole (a few frames tell little), joined."""
    found = []
    for name, dataset in zip(data.sources, data.whole, strict=True):
        place = "" if len(data.sources) == 1 else f"{name}, "
        found += [dataclasses.replace(f, where=place + f.where) for f in check_dataset(dataset).findings]
    return DatasetReport(tuple(found), data.dataset.source)


def split_of(data: FitData, section: SplitSection, seed: int) -> Split:
    """The split of the configured policy; raises ``DatasetError`` where it cannot be made, leaves a source without
    training frames, or leaves a part empty that was asked for."""
    groups = np.array(data.dataset.groups)
    unknown = sorted(set(section.always_train) - set(groups.tolist()))
    if unknown:
        raise DatasetError(f"split.always_train names {', '.join(unknown)}, which no source has")
    split = _policy(data, section, seed)
    always = np.isin(groups, section.always_train)
    kept = [part[~always[part]] for part in (split.validation, split.test, split.dropped)]
    split = Split(np.union1d(split.train, np.flatnonzero(always)), *kept)
    _usable(data, section, split)
    return split


def _usable(data: FitData, section: SplitSection, split: Split) -> None:
    """Raises ``DatasetError`` for a split that no fit can use, or that holds out nothing where it was asked to."""
    sizes = f"{len(split.train)} train, {len(split.validation)} validate, {len(split.test)} test"
    field = {"leave_group_out": "split.groups", "leave_pair_out": "split.pair", "names": "split.test_names and "
             "split.validation_names"}.get(section.policy, "split.fractions")
    if not len(split.train):
        raise DatasetError(f"split: no frame is left for training ({sizes}): correct {field}, so that some frames "
                           "train")
    trained = np.bincount(data.source[split.train], minlength=len(data.sources))
    idle = [f"data[{n}] ({name})" for n, name in enumerate(data.sources) if trained[n] == 0]
    if idle:
        raise DatasetError(f"split: no frame of {', '.join(idle)} trains ({sizes}), so that its energy reference "
                           f"cannot be fitted: correct {field}, add groups of it to split.always_train, or leave the "
                           "source out")
    left_out = section.policy in ("leave_group_out", "leave_pair_out")
    asked = {"validation": section.fractions[1] > 0, "test": left_out or section.fractions[2] > 0}
    if section.policy == "names":
        asked = {"validation": bool(section.validation_names), "test": bool(section.test_names)}
    empty = [part for part, wanted in asked.items() if wanted and not len(split.parts[part])]
    if empty:
        raise DatasetError(f"split: no frame is left for {' and '.join(empty)} ({sizes}), though {field} asks for some:"
                           " take groups off split.always_train, or ask for none")


def _policy(data: FitData, section: SplitSection, seed: int) -> Split:
    """The split of the policy alone."""
    dataset, key = data.dataset, jax.random.key(seed)
    if section.policy == "random":
        return random_split(dataset, section.fractions, key)
    if section.policy == "parent":
        units = find_units(dataset, block=section.block, cut_families=section.cut_families)
        return split_by_parent(dataset, section.fractions, key, units=units, gap=section.gap)
    if section.policy == "leave_pair_out":
        return _with_validation(data, leave_pair_out(dataset, *section.pair), section, seed)  # pyright: ignore
    if section.policy == "leave_group_out":
        if set(dataset.groups) <= set(section.groups):
            raise DatasetError("split.groups names every group of the data, none is left for training: take one off")
        return _with_validation(data, leave_group_out(dataset, *section.groups), section, seed)
    place = {name: n for n, name in enumerate(dataset.names)}
    called = [*section.validation_names, *section.test_names]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise DatasetError(f"split.validation_names and split.test_names name {', '.join(twice[:5])} more than once: "
                           "name each frame once, in one of them")
    unknown = [n for n in called if n not in place]
    if unknown:
        raise DatasetError(f"no frame is called {', '.join(unknown[:5])}: names are those in the data, e.g. "
                           f"{dataset.names[0]}")
    held = [np.array(sorted(place[n] for n in names), int) for names in (section.validation_names, section.test_names)]
    return Split(np.setdiff1d(np.arange(len(dataset)), np.concatenate(held)), *held)


def _with_validation(data: FitData, split: Split, section: SplitSection, seed: int) -> Split:
    """A share of the training units becomes validation."""
    share = section.fractions[1] / (section.fractions[0] + section.fractions[1])
    if share == 0 or not len(split.train):
        return split
    rest = data.dataset.select(split.train)
    units = find_units(rest, block=section.block, cut_families=section.cut_families)
    inner = split_by_parent(rest, (1 - share, share, 0.0), jax.random.key(seed), units=units, gap=section.gap)
    return Split(split.train[inner.train], split.train[inner.validation], split.test,
                 np.sort(np.concatenate([split.dropped, split.train[inner.dropped]])))


def fit_weights(data: FitData, section: Weights, sources: Sequence[Source], train: np.ndarray) -> FitWeights:
    """Residual scales with one factor triple per group: given factors × weight of the source × balance.

    Raises ``DatasetError`` for factors of groups that are not there, and for factors that leave no residual.
    """
    groups = np.array(data.dataset.groups)
    unknown = sorted(set(section.groups) - set(groups.tolist()))
    if unknown:
        raise DatasetError(f"weights.groups names {', '.join(unknown)}, which no source has: groups are "
                           f"{', '.join(sorted(set(groups.tolist())))}")
    sizes = {g: max(1, int((groups[train] == g).sum())) for g in dict.fromkeys(groups.tolist())}
    raw = {g: size ** (-0.5 * section.balance) for g, size in sizes.items()}
    mean = np.sqrt(sum(sizes[g] * raw[g] ** 2 for g in sizes) / sum(sizes.values()))
    table = []
    for group in sizes:
        origin = sources[int(data.source[np.flatnonzero(groups == group)[0]])].weight
        given = section.groups.get(group)
        triple = (1.0, 1.0, 1.0) if given is None else (given.energy, given.force, given.stress)
        factor = origin * raw[group] / mean
        table.append((group, (triple[0] * factor, triple[1] * factor, triple[2] * factor)))
    weighed = [any(triple) for name, triple in table if name in set(groups[train])]
    if not any(weighed):
        raise DatasetError("weights.groups gives energy, force and stress of every training group the factor 0, so "
                           "that nothing is fitted: give at least one a factor above 0")
    return FitWeights(section.energy_scale_eV, section.force_scale_eV_per_A, section.stress_scale_eV, tuple(table))


def counts_by_source(packed, source: np.ndarray, sources: int):
    """Packed frames whose offsets are one per source and element: ``counts`` (frame, source · element)."""
    if sources == 1:
        return packed
    one_hot = np.eye(sources)[source]
    counts = (one_hot[:, :, None] * np.asarray(packed.counts)[:, None, :]).reshape(len(source), -1)
    return eqx.tree_at(lambda p: p.counts, packed, jnp.asarray(counts))

"""DFT datasets: files whose keys and units are declared, never guessed (extxyz, plain or .gz, and ASE databases).

A file that breaks its declaration is refused with one error that lists everything found wrong (file, frame, field,
remedy). Inside the package: energies in eV, forces in eV/Å, stress in eV/Å³ and positive in tension.

Source: Larsen et al. 2017 (extended XYZ and the databases of ASE).
"""

import dataclasses
import gzip
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hea_jax.core.units import GPA_TO_EV_PER_A3
from hea_jax.electronic.findings import Severity
from hea_jax.electronic.readers import MAX_BYTES, DatasetError, RawFrame, numbers, read_frames
from hea_jax.records import Atoms, ReferenceData

STRESS_UNITS = {"eV/A^3": 1.0, "GPa": GPA_TO_EV_PER_A3, "kbar": 0.1 * GPA_TO_EV_PER_A3}
"""Accepted units of a ``stress`` field and their factor to eV/Å³."""

VOIGT_ORDERS = {"ase": (3, 4, 5), "vasp": (4, 5, 3)}
"""Places of yz, xz, xy among six components: ``ase`` writes xx yy zz yz xz xy, ``vasp`` xx yy zz xy yz zx."""

NO_VOLUME_A3 = 1e-8
"""A cell this small is none."""


@dataclasses.dataclass(frozen=True)
class DatasetKeys:
    """Which key holds what, in which unit and sign.

    ``energy`` (eV, of the whole cell; use a free energy where forces go with it), ``forces`` (eV/Å); either ``stress``
    (3×3 or Voigt 6, in ``stress_unit``) or ``virial`` (eV, 3×3 or 6: ± stress × volume) or neither;
    ``tension_sign`` is +1 if stretched cells have a positive stress (or virial), −1 if compressed ones do.
    ``voigt_order`` says in which order six components stand (``VOIGT_ORDERS``); 3×3 arrays need none.
    ``stress_optional`` admits frames without the declared stress: theirs is unknown (NaN) and not fitted.
    ``group`` and ``name`` label a frame; without a name the frame's content names it.
    """

    energy: str
    forces: str
    stress: str | None = None
    virial: str | None = None
    stress_unit: str = "eV/A^3"
    tension_sign: int = 1
    group: str | None = None
    name: str | None = None
    voigt_order: str = "ase"
    stress_optional: bool = False

    def __post_init__(self):
        if self.stress is not None and self.virial is not None:
            raise ValueError("declare `stress` or `virial`, not both")
        if self.stress_unit not in STRESS_UNITS:
            raise ValueError(f"stress_unit must be one of {sorted(STRESS_UNITS)}, got {self.stress_unit!r}")
        if self.tension_sign not in (1, -1):
            raise ValueError(f"tension_sign must be 1 or -1, got {self.tension_sign}")
        if self.voigt_order not in VOIGT_ORDERS:
            raise ValueError(f"voigt_order must be one of {sorted(VOIGT_ORDERS)} (xx yy zz yz xz xy, or xx yy zz xy yz "
                             f"zx), got {self.voigt_order!r}")
        if self.stress_optional and self.stress is None and self.virial is None:
            raise ValueError("stress_optional needs a key: declare `stress` or `virial`, or leave it out")


GPAW_NBMOTAW = DatasetKeys(energy="free_energy_eV", forces="forces_eV_per_A", stress="stress_eV_per_A3",
                           group="group", name="name")
"""Keys of the set that ships with the package (PBE, computed with GPAW for this project)."""

LI_2020 = DatasetKeys(energy="energy", forces="forces", virial="virial", tension_sign=-1, group="config_type")
"""Keys of the NbMoTaW set of Li, Chen, Zheng, Zuo & Ong 2020 (npj Comput. Mater. 6, 70) as one extxyz file."""

TA_FITSNAP = DatasetKeys(energy="energy", forces="forces", virial="virial", tension_sign=-1, group="config_type")
"""Keys of the Ta set of Thompson et al. 2015 (J. Comput. Phys. 285, 316) as one extxyz file: eV, eV/Å, and virials in
eV that are positive in compression."""

ASE_RESULTS = DatasetKeys(energy="energy", forces="forces", stress="stress")
"""Keys of results that ASE calculators leave in a database (energies extrapolated to 0 K; ``free_energy`` where the
calculator gave it is the one that goes with the forces)."""

NAMED_KEYS = {"gpaw_nbmotaw": GPAW_NBMOTAW, "li2020_nbmotaw": LI_2020, "ta_fitsnap": TA_FITSNAP, "ase": ASE_RESULTS}
"""Declared keys by the name that a configuration gives them."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Reference structures with a group and a unique name each; ``elements`` is what their species index."""

    frames: tuple[ReferenceData, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]
    elements: tuple[str, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, indices) -> "Dataset":
        """The frames of the given indices, in that order."""
        chosen = [int(i) for i in indices]
        return dataclasses.replace(self, frames=tuple(self.frames[i] for i in chosen),
                                   groups=tuple(self.groups[i] for i in chosen),
                                   names=tuple(self.names[i] for i in chosen))

    def group_sizes(self) -> dict[str, int]:
        """Number of frames per group, in order of appearance."""
        return {group: self.groups.count(group) for group in dict.fromkeys(self.groups)}


def shipped_dataset(name: str = "gpaw_nbmotaw") -> Dataset:
    """The bcc Nb–Mo–Ta–W set that ships with the package (see ``hea_jax/data/README.md``).

    ``gpaw_nbmotaw_kmesh8`` is its elastic group once more, with 8 k-points per cell edge instead of 12.
    """
    path = Path(__file__).parents[1] / "data" / f"{name}.extxyz"
    return load_dataset(path, GPAW_NBMOTAW, elements=("Nb", "Mo", "Ta", "W"))


def load_dataset(path: str | Path, keys: DatasetKeys, *, elements: tuple[str, ...] | None = None,
                 allow_duplicates: bool = False, check: bool = True, max_bytes: int = MAX_BYTES) -> Dataset:
    """Read a file under its declaration; ``elements`` fixes the species order (default: by appearance).

    ``.db`` and ``.json`` are read as ASE databases, all else as extended XYZ (``.gz`` too); a file that holds more than
    ``max_bytes`` bytes is refused. ``check`` also refuses stress or forces whose sign or unit is certainly another than
    declared (``hea_jax.electronic.consistency``); ``check_dataset`` says more. A frame whose cell holds no volume (a
    molecule) has no stress (NaN), whatever the file says.

    Raises ``FileNotFoundError``, or ``DatasetError`` listing missing keys, wrong shapes, values that are not finite,
    unknown elements and duplicate frames or names.
    """
    path = Path(path)
    images = read_frames(path, max_bytes=max_bytes)
    if elements is None:
        elements = tuple(dict.fromkeys(s for image in images for s in image.symbols))
    problems: list[str] = []
    rows = [_read_frame(image, keys, elements, problems) for image in images]
    if not images:
        problems.append(f"{path}: holds no frame: check that the file is complete")
    _find_duplicates([row["content"] for row in rows], "structure", path, problems, allowed=allow_duplicates)
    names = [row["name"] for row in rows]
    if keys.name is not None:
        _find_duplicates(names, "name", path, problems)
    else:
        names = _made_unique(names)
    if problems:
        raise DatasetError("\n".join([f"{len(problems)} problem(s) in {path}:", *problems]))
    frames = tuple(_reference(row, elements) for row in rows)
    dataset = Dataset(frames, tuple(row["group"] for row in rows), tuple(names), tuple(elements), str(path))
    if check:
        _refuse_wrong_scales(dataset)
    return dataset


def write_dataset(dataset: Dataset, path: str | Path, keys: DatasetKeys) -> None:
    """Write extended XYZ (``.gz`` too) under the given keys, unit and sign, at full precision.

    Reading it back under the same keys gives the same set; crystals without stress are refused when ``keys`` declare
    one, unless it is optional. Stresses are written as 3×3. Raises ``DatasetError``.
    """
    from hea_jax.electronic.families import host_frames

    path, text = Path(path), []
    for n, frame in enumerate(host_frames(dataset)):
        fields = {keys.energy: _digits(frame.free_energy_eV)}
        volume = abs(float(np.linalg.det(frame.atoms.cell)))
        if (keys.stress or keys.virial) and volume > NO_VOLUME_A3:
            known = np.isfinite(frame.stress_eV_per_A3).all()
            if not known and not keys.stress_optional:
                raise DatasetError(f"frame {n} ({dataset.names[n]}) has no stress: declare none in `DatasetKeys`, set "
                                   "`stress_optional: true`, or leave the frame out")
        else:
            known = False
        if known:
            scale = 1.0 / STRESS_UNITS[keys.stress_unit] if keys.stress else volume
            fields[str(keys.stress or keys.virial)] = _digits(keys.tension_sign * scale * frame.stress_eV_per_A3)
        for key, label in ((keys.group, dataset.groups[n]), (keys.name, dataset.names[n])):
            if key is not None:
                fields[key] = label
        for word in (*fields, *fields.values()):
            if '"' in word or "\\" in word or "\n" in word or not word:
                raise DatasetError(f"frame {n}: {word!r} cannot be written as extxyz: rename the key, group or name")
        text.append(_xyz(frame, keys.forces, fields))
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as stream:
        stream.write("".join(text))


def _xyz(frame, forces_key, fields):
    atoms, symbols = frame.atoms, [frame.atoms.elements[int(s)] for s in frame.atoms.species]
    head = f'Lattice="{_digits(atoms.cell)}" Properties=species:S:1:pos:R:3:{forces_key}:R:3 '
    head += "".join(f'"{key}"="{value}" ' for key, value in fields.items())
    rows = [f"{s} {_digits(r)} {_digits(f)}" for s, r, f in
            zip(symbols, atoms.positions, frame.forces_eV_per_A, strict=True)]
    pbc = " ".join("T" if p else "F" for p in atoms.pbc)
    return "\n".join([str(len(symbols)), f'{head}pbc="{pbc}"', *rows, ""])


def _digits(values):
    """Shortest decimals that read back as the same numbers."""
    return " ".join(repr(float(x)) for x in np.ravel(values))


def _refuse_wrong_scales(dataset):
    from hea_jax.electronic.consistency import scale_findings

    with np.errstate(all="ignore"):
        certain = [finding for finding in scale_findings(dataset) if finding.severity is Severity.ERROR]
    if certain:
        raise DatasetError("\n".join([f"{len(certain)} problem(s) in {dataset.source}:",
                                      *(f"{dataset.source}: {finding}" for finding in certain),
                                      "(pass check=False to load the set as it is)"]))


def _number(image, key, shapes, problems, *, remedy=""):
    """The declared field as a float array of one of ``shapes``; a problem is listed and None returned otherwise."""
    where = image.where
    if key not in image.fields:
        problems.append(f"{where}: field `{key}` is missing: the frame holds {sorted(image.fields)}; correct the key "
                        f"in `DatasetKeys`{remedy} or leave the frame out")
        return None
    raw = image.fields[key]
    try:
        value = numbers(raw)
    except (TypeError, ValueError, RecursionError):
        problems.append(f"{where}: field `{key}` is not numeric ({raw!r:.60}): correct the file")
        return None
    if value.shape not in shapes:
        problems.append(f"{where}: field `{key}` has shape {value.shape}, expected one of {shapes}: correct the file "
                        "or the key")
        return None
    if not np.isfinite(value).all():
        problems.append(f"{where}: field `{key}` is not finite: recompute the structure or leave the frame out")
        return None
    return value


def _label(image, key, problems):
    if key not in image.fields:
        problems.append(f"{image.where}: label `{key}` is missing: add it to the frame or correct the key in "
                        "`DatasetKeys`")
        return "?"
    return str(image.fields[key])


def _read_frame(image: RawFrame, keys, elements, problems):
    number, where, cell, positions = len(image.symbols), image.where, image.cell, image.positions
    unknown = sorted(set(image.symbols) - set(elements))
    if unknown:
        problems.append(f"{where}: elements {unknown} are not among {elements}: extend `elements` or leave it out")
    if not (np.abs(positions).max() < 1e9 and np.abs(cell).max() < 1e9):
        problems.append(f"{where}: positions or cell are not finite: correct the file")
    with np.errstate(all="ignore"):
        volume = abs(float(np.linalg.det(cell)))
    if all(image.pbc) and not 1e-8 < volume < 1e12:
        problems.append(f"{where}: field `Lattice` is singular or endless ({volume:.3g} Å³): give three independent "
                        "lattice vectors in Å")
    energy = _number(image, keys.energy, ((),), problems)
    forces = _number(image, keys.forces, ((number, 3),), problems)
    stress = np.full((3, 3), np.nan)
    key = keys.stress or keys.virial
    if key is not None and volume > NO_VOLUME_A3 and not (keys.stress_optional and key not in image.fields):
        stress = _number(image, key, ((3, 3), (6,), (9,)), problems, remedy=", set `stress_optional: true`")
        if stress is not None:
            stress = _from_voigt(stress, keys.voigt_order) if stress.shape == (6,) else stress.reshape(3, 3)
            scale = STRESS_UNITS[keys.stress_unit] if keys.stress else 1.0 / volume
            stress = keys.tension_sign * scale * 0.5 * (stress + stress.T)
    content = hashlib.sha256("".join(image.symbols).encode() + np.round(cell, 6).tobytes()
                             + np.round(positions, 6).tobytes()).hexdigest()[:12]
    group = "all" if keys.group is None else _label(image, keys.group, problems)
    name = f"{group}-{content}" if keys.name is None else _label(image, keys.name, problems)
    return {"symbols": image.symbols, "positions": positions, "cell": cell, "pbc": image.pbc, "energy": energy,
            "forces": forces, "stress": stress, "content": content, "group": group, "name": name}


def _from_voigt(v, order):
    yz, xz, xy = (v[place] for place in VOIGT_ORDERS[order])
    return np.array([[v[0], xy, xz], [xy, v[1], yz], [xz, yz, v[2]]])


def _find_duplicates(labels, what, path, problems, *, allowed=False):
    seen: dict[str, int] = {}
    for n, label in enumerate(labels):
        if label in seen and not allowed:
            remedy = "leave one out" + (" or pass allow_duplicates=True" if what == "structure" else "")
            problems.append(f"{path}: frame {n}: same {what} as frame {seen[label]}: {remedy}")
        seen.setdefault(label, n)


def _made_unique(names):
    count: dict[str, int] = {}
    out = []
    for name in names:
        count[name] = count.get(name, 0) + 1
        out.append(name if count[name] == 1 else f"{name}.{count[name]}")
    return out


def _reference(row, elements):
    index = {element: n for n, element in enumerate(elements)}
    species = np.array([index[s] for s in row["symbols"]], np.int32)
    # One transfer for the five arrays of a frame: thousands of single ones would take longer than reading the file.
    arrays = jax.device_put((row["positions"], row["cell"], species, row["energy"], row["forces"], row["stress"]))
    positions, cell, species, energy, forces, stress = arrays
    return ReferenceData(Atoms(positions, cell, species, tuple(elements), row["pbc"]), energy, forces, stress)

"""DFT datasets: any extxyz file (plain or .gz) whose keys and units are declared, never guessed.

A file that breaks its declaration is refused with one error that lists everything found wrong (file, frame, field,
remedy). Inside the package: energies in eV, forces in eV/Å, stress in eV/Å³ and positive in tension.

Source: Larsen et al. 2017 (ASE, whose reader of extended XYZ is used).
"""

import dataclasses
import gzip
import hashlib
import io
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from hea_jax.core.units import GPA_TO_EV_PER_A3
from hea_jax.records import Atoms, ReferenceData

STRESS_UNITS = {"eV/A^3": 1.0, "GPa": GPA_TO_EV_PER_A3, "kbar": 0.1 * GPA_TO_EV_PER_A3}
"""Accepted units of a ``stress`` field and their factor to eV/Å³."""


@dataclasses.dataclass(frozen=True)
class DatasetKeys:
    """Which key holds what, in which unit and sign.

    ``energy`` (eV, of the whole cell; use a free energy where forces go with it), ``forces`` (eV/Å); either ``stress``
    (3×3 or Voigt 6, in ``stress_unit``) or ``virial`` (eV, 3×3 or 6: ± stress × volume) or neither;
    ``tension_sign`` is +1 if stretched cells have a positive stress (or virial), −1 if compressed ones do.
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

    def __post_init__(self):
        if self.stress is not None and self.virial is not None:
            raise ValueError("declare `stress` or `virial`, not both")
        if self.stress_unit not in STRESS_UNITS:
            raise ValueError(f"stress_unit must be one of {sorted(STRESS_UNITS)}, got {self.stress_unit!r}")
        if self.tension_sign not in (1, -1):
            raise ValueError(f"tension_sign must be 1 or -1, got {self.tension_sign}")


GPAW_NBMOTAW = DatasetKeys(energy="free_energy_eV", forces="forces_eV_per_A", stress="stress_eV_per_A3",
                           group="group", name="name")
"""Keys of the set that ships with the package (PBE, computed with GPAW for this project)."""

LI_2020 = DatasetKeys(energy="energy", forces="forces", virial="virial", tension_sign=-1, group="config_type")
"""Keys of the NbMoTaW set of Li, Chen, Zheng, Zuo & Ong 2020 (npj Comput. Mater. 6, 70) as one extxyz file."""


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


class DatasetError(ValueError):
    """A dataset breaks its declaration; the message lists every problem with its remedy."""


def shipped_dataset() -> Dataset:
    """The bcc Nb–Mo–Ta–W set that ships with the package (see ``hea_jax/data/README.md``)."""
    path = Path(__file__).parents[1] / "data" / "gpaw_nbmotaw.extxyz"
    return load_dataset(path, GPAW_NBMOTAW, elements=("Nb", "Mo", "Ta", "W"))


def load_dataset(path: str | Path, keys: DatasetKeys, *, elements: tuple[str, ...] | None = None,
                 allow_duplicates: bool = False) -> Dataset:
    """Read an extxyz file under its declaration; ``elements`` fixes the species order (default: by appearance).

    Raises ``FileNotFoundError``, or ``DatasetError`` listing missing keys, wrong shapes, values that are not finite,
    unknown elements and duplicate frames or names.
    """
    import ase.io

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"dataset {path} does not exist: check the path")
    try:
        # Decompressed as a whole: ASE's reader seeks back for every frame, and a gzip stream then starts over.
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        images: Any = ase.io.read(io.StringIO(text.decode()), index=":", format="extxyz")
    except Exception as error:
        raise DatasetError(f"{path}: not readable as extxyz ({type(error).__name__}: {error}): check that the file is "
                           "complete and in extended XYZ format") from error
    if elements is None:
        elements = tuple(dict.fromkeys(s for image in images for s in image.get_chemical_symbols()))
    problems: list[str] = []
    rows = [_read_frame(image, keys, elements, f"{path}: frame {n}", problems) for n, image in enumerate(images)]
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
    return Dataset(frames, tuple(row["group"] for row in rows), tuple(names), tuple(elements), str(path))


def _value(image, key):
    """A key's value wherever ASE's reader has put it (it moves `energy`, `forces`, `stress` into a calculator)."""
    for place in (image.info, image.arrays, getattr(image.calc, "results", {})):
        if key in place:
            return place[key]
    return None


def _number(image, key, shapes, where, problems):
    """The declared field as a float array of one of ``shapes``; a problem is listed and None returned otherwise."""
    raw = _value(image, key)
    if raw is None:
        held = sorted({*image.info, *image.arrays, *getattr(image.calc, "results", {})} - {"numbers", "positions"})
        problems.append(f"{where}: field `{key}` is missing: the frame holds {held}; correct the key in `DatasetKeys` "
                        "or leave the frame out")
        return None
    try:
        value = np.asarray(raw, float)
    except (TypeError, ValueError):
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


def _label(image, key, where, problems):
    value = _value(image, key)
    if value is None:
        problems.append(f"{where}: label `{key}` is missing: add it to the frame or correct the key in `DatasetKeys`")
        return "?"
    return str(value)


def _read_frame(image, keys, elements, where, problems):
    number = len(image)
    symbols = image.get_chemical_symbols()
    unknown = sorted(set(symbols) - set(elements))
    if unknown:
        problems.append(f"{where}: elements {unknown} are not among {elements}: extend `elements` or leave it out")
    cell, positions = np.array(image.cell.array), np.array(image.positions)
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        problems.append(f"{where}: positions or cell are not finite: correct the file")
    periodic = bool(np.all(image.pbc))
    if periodic and abs(np.linalg.det(cell)) < 1e-8:
        problems.append(f"{where}: field `Lattice` is singular: give three independent lattice vectors")
    energy = _number(image, keys.energy, ((),), where, problems)
    forces = _number(image, keys.forces, ((number, 3),), where, problems)
    stress = np.full((3, 3), np.nan)
    key = keys.stress or keys.virial
    if key is not None:
        stress = _number(image, key, ((3, 3), (6,), (9,)), where, problems)
        if stress is not None:
            stress = _from_voigt(stress) if stress.shape == (6,) else stress.reshape(3, 3)
            scale = STRESS_UNITS[keys.stress_unit] if keys.stress else 1.0 / max(abs(np.linalg.det(cell)), 1e-12)
            stress = keys.tension_sign * scale * 0.5 * (stress + stress.T)
    content = hashlib.sha256("".join(symbols).encode() + np.round(cell, 6).tobytes()
                             + np.round(positions, 6).tobytes()).hexdigest()[:12]
    group = "all" if keys.group is None else _label(image, keys.group, where, problems)
    name = f"{group}-{content}" if keys.name is None else _label(image, keys.name, where, problems)
    pbc = tuple(bool(p) for p in image.pbc)
    return {"symbols": symbols, "positions": positions, "cell": cell, "pbc": pbc, "energy": energy, "forces": forces,
            "stress": stress, "content": content, "group": group, "name": name}


def _from_voigt(v):
    return np.array([[v[0], v[5], v[4]], [v[5], v[1], v[3]], [v[4], v[3], v[2]]])


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
    species = np.array([elements.index(s) for s in row["symbols"]], np.int32)
    atoms = Atoms(jnp.asarray(row["positions"]), jnp.asarray(row["cell"]), jnp.asarray(species), tuple(elements),
                  row["pbc"])
    return ReferenceData(atoms, jnp.asarray(row["energy"]), jnp.asarray(row["forces"]), jnp.asarray(row["stress"]))

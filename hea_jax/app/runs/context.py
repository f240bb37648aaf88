"""What a running stage may ask of its run: files, checkpoints, progress, warnings."""

from pathlib import Path
from typing import Any

import numpy as np

from hea_jax.app.runs.atomic import write_atomic
from hea_jax.app.runs.progress import AbstractReporter


class Context:
    """Handed to a stage by the runner.

    Files that the stage writes at ``path(name)`` become part of its result. ``checkpoint``/``restore`` keep a pytree
    of arrays within a long stage: after a kill the stage starts again and continues from there.
    """

    def __init__(self, files: Path, checkpoints: Path, base: Path, reporter: AbstractReporter):
        self._files = files
        self._checkpoints = checkpoints
        self._base = base
        self._reporter = reporter
        self._warnings: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings so far."""
        return tuple(self._warnings)

    def path(self, name: str) -> Path:
        """Where to write a file that belongs to the result, e.g. ``path("alloy.eam.alloy")``."""
        if not name or Path(name).name != name or name.startswith("."):
            raise ValueError(f"{name!r} is not a plain file name")
        return self._files / name

    def resolve(self, path: str) -> Path:
        """An input path of the configuration: absolute, or relative to the configuration file."""
        return self._base / Path(path).expanduser()

    def progress(self, text: str, step: int | None = None, total: int | None = None) -> None:
        """Say what the stage is doing (cheap: call it as often as you like)."""
        self._reporter.step(text, step, total)

    def warn(self, text: str) -> None:
        """A warning for the screen, the summary and the report."""
        self._warnings.append(text)
        self._reporter.say(f"warning: {text}")

    def checkpoint(self, name: str, tree: Any) -> None:
        """Keep a pytree of arrays under ``name``; replaces an earlier one in one step."""
        import h5py
        import jax

        leaves, structure = jax.tree.flatten(tree)
        path = self._checkpoint_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)

        def write(partial: Path) -> None:
            with h5py.File(partial, "w") as file:
                file.attrs["structure"] = str(structure)
                for i, leaf in enumerate(leaves):
                    file[str(i)] = np.asarray(leaf)

        write_atomic(path, write)

    def restore(self, name: str, like: Any) -> Any:
        """The pytree kept under ``name``, or None if there is none with the structure, shapes and dtypes of ``like``.

        NumPy arrays in place of the leaves; hand them to JAX as they are.
        """
        import h5py
        import jax

        leaves, structure = jax.tree.flatten(like)
        path = self._checkpoint_path(name)
        if not path.exists():
            return None
        try:
            with h5py.File(path, "r") as file:
                same = file.attrs["structure"] == str(structure)
                kept = [np.asarray(file[str(i)]) for i in range(len(leaves))] if same else []
        except (OSError, KeyError) as error:
            self.warn(f"checkpoint {name} cannot be read and is left out ({error})")
            return None
        wanted = [np.asarray(leaf) for leaf in leaves]
        if not same or any(a.shape != b.shape or a.dtype != b.dtype for a, b in zip(kept, wanted, strict=True)):
            self.warn(f"checkpoint {name} is of another shape and is left out")
            return None
        return jax.tree.unflatten(structure, kept)

    def _checkpoint_path(self, name: str) -> Path:
        """The file of a checkpoint."""
        if not name.isidentifier():
            raise ValueError(f"{name!r} cannot name a checkpoint: use letters, digits and `_`")
        return self._checkpoints / f"{name}.h5"

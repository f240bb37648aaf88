"""What an entry point sets before JAX is used: double precision and a compilation cache on disk.

Importing the package sets nothing; only ``hea_jax.app.cli`` calls ``configure_jax``.
"""

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "HEA_JAX_CACHE_DIR"
"""Environment variable that moves the cache (JAX's own ``JAX_COMPILATION_CACHE_DIR`` comes first)."""


def cache_folder() -> Path:
    """Where compiled programs are kept between runs."""
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "hea_jax" / "compiled"


def configure_jax() -> None:
    """Switch JAX to double precision with a cache on disk, whether or not it is imported already."""
    settings = {
        "jax_enable_x64": True,
        "jax_compilation_cache_dir": str(cache_folder()),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
    }
    # XLA reports scheduling hints of its own compiler as unknown machine features whenever it loads a cached program.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "jax" not in sys.modules:
        for name, value in settings.items():
            os.environ.setdefault(name.upper(), str(value))
        os.environ["JAX_ENABLE_X64"] = "True"
    import jax

    for name, value in settings.items():
        jax.config.update(name, value)

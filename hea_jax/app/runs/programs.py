"""Compiled programs of finished stages, let go before the kernel runs out of memory maps for them.

Every program that XLA compiles for a CPU holds a few memory maps, of which Linux gives a process 65530 by default; a
long chain of stages can need more and then fails with "LLVM compilation error: Cannot allocate memory".
"""

from pathlib import Path

import jax

SHARE = 0.5
"""Part of the allowed maps beyond which programs are let go."""


def release_programs(maps: Path = Path("/proc/self/maps"), limit: Path = Path("/proc/sys/vm/max_map_count")) -> bool:
    """Clear JAX's caches if many maps are in use; whether it did. Without such files (not Linux) it does nothing."""
    try:
        used, allowed = len(maps.read_bytes().splitlines()), int(limit.read_text())
    except (OSError, ValueError):
        return False
    if used < SHARE * allowed:
        return False
    jax.clear_caches()
    return True

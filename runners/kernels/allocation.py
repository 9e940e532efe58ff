"""Memory of a step, kept for the next one."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of mallopt(3)."""


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, where it is glibc; whether it does.

    Of itself it maps each large block anew and gives it back, and the kernel fills its pages with zeros each time: up
    to a tenth of a step of a small model. What a process holds is then the most that it needed at once (mallopt(3)).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    never_map, never_trim = mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)
    return bool(never_map and never_trim)

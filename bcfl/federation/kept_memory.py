"""Let the process keep memory that it has freed, instead of asking for it page by page again."""

from __future__ import annotations

import ctypes
from typing import Final

# Of glibc's malloc.h.
TRIM_THRESHOLD: Final = -1
MMAP_MAX: Final = -4
MOST: Final = 2**31 - 1  # bytes at the end of the heap that are kept


def keep_freed_memory() -> bool:
    """Whether the C library took it; others than glibc do not know how.

    A run of a large model makes and frees vectors of tens of megabytes all the time. glibc maps each anew,
    and the pages that the system has to clear took a third of the time with 10 million parameters; kept, they
    cost a sixth more memory at the peak.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, MOST))

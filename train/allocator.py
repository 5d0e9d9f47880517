"""Keeps freed memory inside the process, so that every step does not fault its buffers in again."""

import ctypes
import logging
import sys

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Tells glibc never to trim and never to map; elsewhere it does nothing. Call before the first large buffer."""
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError) as error:  # not glibc
        log.debug("the allocator stays as it is: %s", error)

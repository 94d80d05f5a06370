"""Loads a library that prevents libvirt before 10.4 from writing to a stack that no longer exists.

Functions are bound when a library is loaded, so this one must be loaded before libvirt. The package `source`
therefore loads it before any of its modules imports libvirt. `make` compiles the library. Without it the
service runs as well and logs a warning.

Source: event_source_guard.c, which explains the fault; CVE-2024-4418.
"""

import ctypes
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).with_name("libevent_source_guard.so")


@cache
def load_guard() -> bool:
    """Load the library once, and return whether it is loaded."""
    try:
        ctypes.CDLL(str(LIBRARY), mode=ctypes.RTLD_GLOBAL)
    except OSError:  # it is not compiled, or is compiled for another processor
        return False
    return True

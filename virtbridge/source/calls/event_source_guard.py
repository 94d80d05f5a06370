"""Loads the library that keeps libvirt before 10.4 from writing to stacks that are not there any more.

It must be loaded before libvirt is, since functions are bound when a library is loaded; so the package
`source` does it as the first thing, before any module of it imports libvirt. The library is compiled by
`make`. Where it is missing the service runs all the same, and says so.

Source: event_source_guard.c, which tells what is guarded; CVE-2024-4418.
"""

import ctypes
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).with_name("libevent_source_guard.so")


@cache
def load_guard() -> bool:
    """Whether it is loaded, by this call or an earlier one."""
    try:
        ctypes.CDLL(str(LIBRARY), mode=ctypes.RTLD_GLOBAL)
    except OSError:  # not compiled, or for another processor
        return False
    return True

"""Memory: how little address space the process takes, and how it ends when there is no more.

Whatever a MemoryError has interrupted is in an unknown state: a thread may have died before it said that it
runs, an event or a bus message may be lost for ever. So the first one that is seen anywhere ends the process
with one line and exit status 1, and systemd starts it anew. What C code does of its own where there is no
memory (GLib aborts, libxml2 was seen to crash in libvirt's test driver) cannot be mended here: it is met by
taking little. Threads: any.
"""

import ctypes
import logging
import mmap
import os
import signal
import sys
import threading
from contextlib import suppress
from types import TracebackType

from virtbridge.logs import report_failure

# The system's 8 MiB for each of a hundred threads would be most of our address space. A first sync over RPC
# was seen to do with 128 KiB, and the test driver reading a file of 2,000 domains with this.
_STACK_BYTES = 1 << 20
# glibc would reserve 64 MiB for each of 8 arenas for each CPU. With one a first sync takes as long, as its
# threads take turns in Python anyhow.
_ARENAS = 1
_M_ARENA_MAX = -8  # malloc.h
_RESERVE_BYTES = 1 << 20  # released first, so that there is memory to end with
_ROOM_BYTES = 16 << 20  # libvirt, GLib and XDR crash or abort where an allocation of theirs fails

_reserve: list[bytes] = []
_ending = threading.Lock()


def limit_address_space() -> None:
    """Take less address space, before the first thread is started: with 2,000 domains the process has 190 MiB
    instead of 1,650.
    """
    threading.stack_size(_STACK_BYTES)
    with suppress(OSError, AttributeError):  # another C library, which has no such arenas
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def end_on_memory_errors() -> None:
    """End the process, from now on, at a MemoryError that nobody catches or that is logged. Call it once
    logging is set up.
    """
    _reserve.append(bytes(_RESERVE_BYTES))
    sys.excepthook = _on_uncaught
    threading.excepthook = _on_thread
    sys.unraisablehook = _on_unraisable
    for handler in logging.getLogger().handlers:
        handler.filters.insert(0, _end_or_pass)  # before one that takes the exception off the record


def need_room() -> None:
    """End the process where there is no memory before libvirt begins to work, which could not end cleanly. It
    takes 3 us.
    """
    try:
        mmap.mmap(-1, _ROOM_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        end_if_exhausted(MemoryError())


def end_in_time(limit_s: int) -> None:
    """Let the kernel end us in time, whatever becomes of the main loop, which may wait for ever."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limit_s)


def end_if_exhausted(error: BaseException | None) -> None:
    """End the process where a MemoryError is the cause. This is for code that catches everything and logs
    nothing.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            _ending.acquire()  # for ever: the others have nothing to add
            _reserve.clear()
            try:
                report_failure(MemoryError("virtbridge: out of memory, ending"))
            finally:
                os._exit(1)
        error = error.__cause__


def _end_or_pass(record: logging.LogRecord) -> bool:
    if record.exc_info:
        end_if_exhausted(record.exc_info[1])
    return True


def _on_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    end_if_exhausted(error)
    sys.__excepthook__(kind, error, traceback)


def _on_thread(args: threading.ExceptHookArgs) -> None:
    end_if_exhausted(args.exc_value)
    threading.__excepthook__(args)


def _on_unraisable(args: "sys.UnraisableHookArgs") -> None:
    """End the process also where a thread died while it was started: its start() would wait for
    it for ever.
    """
    end_if_exhausted(args.exc_value)
    sys.__unraisablehook__(args)

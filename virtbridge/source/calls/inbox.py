"""The queue through which other threads enter the asyncio loop. There is no other way in.

libvirt callbacks and workers post calls here, which are made on the main thread in the order of posting. The
loop is woken once for all calls that arrive together. A long queue is worked off in slices, so that the bus
gets its turns in between. Threads: post() may be called on any thread, everything else on the main thread.

An eventfd wakes the loop: for a single event, call_soon_threadsafe() takes 20 us and the eventfd 9 us.
"""

import asyncio
import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any

log = logging.getLogger(__name__)

SLICE_S = 0.005  # the longest time that the calls of one turn of the loop take; later ones wait for the next


class Inbox:
    """batch: a context manager that is entered around each slice of calls, on the main thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: AbstractContextManager[object] | None = None,
        slice_s: float = SLICE_S,
    ) -> None:
        self._loop = loop
        self._batch = batch or nullcontext()
        self._slice_s = slice_s
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False
        self._wakes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Not earlier: a worker that hangs in libvirt may post at any time, and the number of a closed eventfd
        # may belong to another file by then.
        weakref.finalize(self, os.close, self._wakes)
        loop.add_reader(self._wakes, self._on_wake)

    def __len__(self) -> int:
        return len(self._queue)

    def post(self, deliver: Callable[..., None], *args: Any) -> None:
        """Have deliver(*args) called on the main thread. Any thread; this never blocks."""
        self._queue.append((deliver, args))
        if not self._woken:  # two threads may both see False: an additional wake does no harm
            self._woken = True
            os.eventfd_write(self._wakes, 1)

    def _on_wake(self) -> None:
        os.eventfd_read(self._wakes)
        self._drain()

    def _drain(self) -> None:
        self._woken = False  # this comes before reading, so that no call that is posted meanwhile is missed
        until = monotonic() + self._slice_s
        with self._batch:
            while self._queue:
                deliver, args = self._queue.popleft()
                try:
                    deliver(*args)
                except Exception:
                    log.exception("a call from another thread failed")
                if self._queue and monotonic() >= until:
                    self._woken = True
                    self._loop.call_soon(self._drain)
                    return

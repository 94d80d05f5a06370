"""The one door through which other threads enter the asyncio loop.

Whatever a libvirt callback or a worker has to say is a call posted here, and is made on the main thread in
the order of posting. One wake of the loop per batch; a long batch is cut into slices so that the bus gets its
turns. Threads: `post` from any; everything else on the main thread.

The loop is woken by an eventfd: of an event that comes out of a silence, its own call_soon_threadsafe() takes
20 us where this takes 9.
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

SLICE_S = 0.005  # of a loop turn, beside what comes of it; the rest waits for the next one


class Inbox:
    """batch: entered for each slice of deliveries, on the main thread."""

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
        # Not before: a worker that hung in libvirt may post at any time, then into another file.
        weakref.finalize(self, os.close, self._wakes)
        loop.add_reader(self._wakes, self._on_wake)

    def __len__(self) -> int:
        return len(self._queue)

    def post(self, deliver: Callable[..., None], *args: Any) -> None:
        """Have deliver(*args) called on the main thread. Any thread; never blocks."""
        self._queue.append((deliver, args))
        if not self._woken:  # two threads may both see False: one wake too many does no harm
            self._woken = True
            os.eventfd_write(self._wakes, 1)

    def _on_wake(self) -> None:
        os.eventfd_read(self._wakes)
        self._drain()

    def _drain(self) -> None:
        self._woken = False  # before reading, so that nothing posted meanwhile is left behind
        until = monotonic() + self._slice_s
        with self._batch:
            while self._queue:
                deliver, args = self._queue.popleft()
                try:
                    deliver(*args)
                except Exception:
                    log.exception("a delivery failed")
                if self._queue and monotonic() >= until:
                    self._woken = True
                    self._loop.call_soon(self._drain)
                    return

"""Many short reads on one connection, without a task, a future and a timer for each of them.

A first sync reads the XML of a thousand domains. On a fast link most of the time goes into the overhead of
each call in this process, so a batch keeps that overhead small. It takes the reads from an iterator, a little
ahead of the workers, and passes on each answer as it arrives. Short texts are parsed on the main thread:
dozens of workers that parse would compete for the interpreter's lock with each other and with the main
thread. This made a first sync of 1000 domains take 0.82 s instead of 0.98 s.

The deadline limits the time without progress: if no read returns for that long, the batch fails. Everything
runs on the main thread, except Item.done(), Item.work() and the functions of the reads.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.memory import end_if_exhausted, need_room
from virtbridge.source.calls.window import LARGEST

READS_AHEAD = 2 * LARGEST  # the number of reads that are queued or in flight
SHORT_CHARACTERS = 16_384  # parsing so many takes two milliseconds at most


class Read(NamedTuple):
    """One read of an object's text."""

    # The object.
    key: Hashable
    # The blocking call, made in a worker.
    call: Callable[[], str]
    # Turns the text into the answer.
    parse: Callable[[str], Any]


Settle = Callable[[Any, Any, Exception | None], None]  # the key, with its answer or its error


class Item:
    """One read of a batch. A worker's job has it in place of the future of a single call."""

    __slots__ = ("_batch", "_read")

    def __init__(self, batch: "Batch", read: Read) -> None:
        self._batch = batch
        self._read = read

    def done(self) -> bool:
        """Return whether nobody waits for this read any more. Any thread."""
        return self not in self._batch.in_flight

    def work(self) -> tuple[bool, Any]:
        """Make the call, in a worker. Returns whether the text is parsed, and the answer or the text."""
        text = self._read.call()
        return (False, text) if len(text) <= SHORT_CHARACTERS else (True, self._read.parse(text))

    def set_result(self, worked: tuple[bool, Any]) -> None:
        is_parsed, value = worked
        try:
            value = value if is_parsed else self._read.parse(value)
        except Exception as error:
            end_if_exhausted(error)
            self.set_exception(error)
        else:
            self._batch.settled(self, self._read.key, value, None)

    def set_exception(self, error: Exception) -> None:
        self._batch.settled(self, self._read.key, None, error)


class Batch:
    """Runs reads, and calls `settle` once for each of them.

    submit: queues reads for the workers. finished: the batch resolves this future when every read has
    settled; its creator may end the batch earlier by setting an error.
    """

    def __init__(
        self,
        reads: Iterator[Read],
        submit: Callable[[list[Item]], None],
        settle: Settle,
        finished: "asyncio.Future[None]",
    ) -> None:
        self._reads = reads
        self._submit = submit
        self._settle = settle
        self._settled = 0
        self.in_flight: set[Item] = set()
        self._finished = finished

    async def run(self, timeout_s: float) -> None:
        """Run until all reads have settled. Raises BridgeError; Timeout when none returns for timeout_s."""
        try:
            self._fill()
            while not self._finished.done():
                settled = self._settled
                await asyncio.wait([self._finished], timeout=timeout_s)
                if settled == self._settled and not self._finished.done():
                    raise BridgeError(ErrorKind.TIMEOUT, f"libvirt did not answer within {timeout_s:g} s")
            self._finished.result()
        finally:
            self._finished.cancel()
            self.in_flight.clear()

    def settled(self, item: Item, key: Hashable, value: Any, error: Exception | None) -> None:
        self.in_flight.discard(item)
        self._settled += 1
        try:
            self._settle(key, value, error)
        finally:
            if len(self.in_flight) <= READS_AHEAD // 2:
                self._fill()

    def _fill(self) -> None:
        """Queue more reads. This is done when half of them have settled: the other half keeps the workers
        busy meanwhile.
        """
        if self._finished.done():
            return
        need_room()
        more: list[Item] = []
        for read in self._reads:
            more.append(Item(self, read))
            self.in_flight.add(more[-1])
            if len(self.in_flight) >= READS_AHEAD:
                break
        if more:
            self._submit(more)
        elif not self.in_flight:
            self._finished.set_result(None)

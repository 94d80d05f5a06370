"""Many short reads of one connection, without a task, a future and a timer for each.

A first sync reads the XML of a thousand domains, and on a fast link what a call costs here is what it takes.
The reads are taken from an iterator a little ahead of the workers; each answer is handed over as it comes.
What is short is parsed here rather than in dozens of workers, which would fight each other, and this thread,
for the interpreter: a first sync of 1000 domains took 0.82 s instead of 0.98 s.

The deadline is one of progress: when for so long no read has come back, those under way are given up. Main
thread, apart from `done` and the reads' own functions.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.memory import end_if_exhausted, need_room
from virtbridge.source.calls.window import LARGEST

READS_AHEAD = 2 * LARGEST  # reads that are queued or under way
SHORT_CHARACTERS = 16_384  # characters: two milliseconds of parsing at most


class Read(NamedTuple):
    """key: what it is of. call: the blocking call. parse: what makes the answer of its text."""

    key: Hashable
    call: Callable[[], str]
    parse: Callable[[str], Any]


Settle = Callable[[Any, Any, Exception | None], None]  # of what, and its answer or its error


class Item:
    """One read of a batch, where a single call has its future."""

    __slots__ = ("_batch", "_read")

    def __init__(self, batch: "Batch", read: Read) -> None:
        self._batch = batch
        self._read = read

    def done(self) -> bool:
        """Whether nobody waits for it any more. Any thread."""
        return self not in self._batch.in_flight

    def work(self) -> tuple[bool, Any]:
        """In a worker: whether it is parsed already, and the answer or its text."""
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
    """submit: queue these reads for the workers. over: resolved here when all have settled; whoever made it
    may end all with an error before that.
    """

    def __init__(
        self,
        reads: Iterator[Read],
        submit: Callable[[list[Item]], None],
        settle: Settle,
        over: "asyncio.Future[None]",
    ) -> None:
        self._reads = reads
        self._submit = submit
        self._settle = settle
        self._settled = 0
        self.in_flight: set[Item] = set()
        self._over = over

    async def run(self, timeout_s: float) -> None:
        """Raises BridgeError; Timeout when no read has come back for so long."""
        try:
            self._fill()
            while not self._over.done():
                settled = self._settled
                await asyncio.wait([self._over], timeout=timeout_s)
                if settled == self._settled and not self._over.done():
                    raise BridgeError(ErrorKind.TIMEOUT, f"libvirt did not answer within {timeout_s:g} s")
            self._over.result()
        finally:
            self._over.cancel()
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
        """Half of them at a time: what is queued is enough to keep the workers busy meanwhile."""
        if self._over.done():
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
            self._over.set_result(None)

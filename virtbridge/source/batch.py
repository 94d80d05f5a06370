"""Many short reads of one connection, without a task, a future and a timer for each.

A first sync reads the XML of a thousand domains, and on a fast link what a call costs here is what it takes.
The reads are taken from an iterator a little ahead of the workers; each answer is handed over as it comes.
The deadline is one of progress: when for so long no read has come back, those under way are given up. Main
thread, apart from `done`.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from virtbridge.errors import BridgeError, ErrorKind

IN_TURN = 128  # reads that are queued or under way: twice the widest window

Read = tuple[Hashable, Callable[[], Any]]  # what it is of, and the blocking call
Settle = Callable[[Any, Any, Exception | None], None]  # of what, and its answer or its error


class Item:
    """One read of a batch, where a single call has its future."""

    __slots__ = ("_batch", "key")

    def __init__(self, batch: "Batch", key: Hashable) -> None:
        self._batch = batch
        self.key = key

    def done(self) -> bool:
        """Whether nobody waits for it any more. Any thread."""
        return self not in self._batch.under_way

    def set_result(self, value: Any) -> None:
        self._batch.settled(self, value, None)

    def set_exception(self, error: Exception) -> None:
        self._batch.settled(self, None, error)


class Batch:
    """submit: queue these reads for the workers. over: resolved here when all have settled; whoever made it
    may end all with an error before that.
    """

    def __init__(
        self,
        reads: Iterator[Read],
        submit: Callable[[list[tuple[Item, Callable[[], Any]]]], None],
        settle: Settle,
        over: "asyncio.Future[None]",
    ) -> None:
        self._reads = reads
        self._submit = submit
        self._settle = settle
        self._settled = 0
        self.under_way: set[Item] = set()
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
            self.under_way.clear()

    def settled(self, item: Item, value: Any, error: Exception | None) -> None:
        self.under_way.discard(item)
        self._settled += 1
        try:
            self._settle(item.key, value, error)
        finally:
            if len(self.under_way) <= IN_TURN // 2:
                self._fill()

    def _fill(self) -> None:
        """Half of them at a time: what is queued is enough to keep the workers busy meanwhile."""
        if self._over.done():
            return
        more: list[tuple[Item, Callable[[], Any]]] = []
        for key, read in self._reads:
            item = Item(self, key)
            self.under_way.add(item)
            more.append((item, read))
            if len(self.under_way) >= IN_TURN:
                break
        if more:
            self._submit(more)
        elif not self.under_way:
            self._over.set_result(None)

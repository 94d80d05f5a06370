"""XPath over many documents, each query in a process of its own: how many there are, and who has one.

A thread would do for the main loop's sake, but nothing can stop an expression that takes for ever, and any
local user may send one. Documents go to the process, and its answer comes back, in files in memory: whatever
the answer's size, this process only maps it. Main thread only.
"""

import asyncio
import math
import mmap
import os
from collections.abc import Callable, Hashable, Mapping
from typing import BinaryIO
from weakref import WeakValueDictionary

from virtbridge.cache.evaluation import Query
from virtbridge.cache.fork_server import ForkServer
from virtbridge.cache.forking import DONE, REFUSED
from virtbridge.cache.query_files import read_error, write_work
from virtbridge.errors import BridgeError, ErrorKind


class Queries:
    """at_a_time: processes in all. program: the module that evaluates; the answer's format is its own."""

    def __init__(self, at_a_time: int, program: str) -> None:
        self._server = ForkServer(program)
        self._free = asyncio.Semaphore(at_a_time)
        # Of callers with queries.
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def run(
        self, caller: Hashable, query: Query, documents: Callable[[], Mapping[str, str]], timeout_s: float
    ) -> memoryview:
        """The program's answer. Who comes later waits, within the same timeout.

        caller: whoever has one process at a time. documents: asked for when it is this query's turn, as
        thousands may wait. Raises Timeout, LimitExceeded (too much found, or too much memory) and
        InvalidArgument (what only evaluation shows); OSError when the system has no process left.
        """
        # Without it one caller's endless queries would be all processes that there may be.
        turn = self._turns.setdefault(caller, asyncio.Lock())
        try:
            async with asyncio.timeout(timeout_s), turn, self._free:
                with _file_in_memory() as work, _file_in_memory() as answer:
                    await asyncio.to_thread(write_work, work, query, documents())
                    # A second more: it is the timeout that ends it, or this where the processor is its alone.
                    ended = await self._server.run(math.ceil(timeout_s) + 1, work, answer)
                    return _answer_of(ended, answer)
        except TimeoutError:
            raise BridgeError(ErrorKind.TIMEOUT, f"the query took longer than {timeout_s:g} s") from None

    def close(self) -> None:
        """Queries must have ended."""
        self._server.close()


def _file_in_memory() -> BinaryIO:
    return open(os.memfd_create("query"), "w+b")


def _answer_of(ended: bytes, answer: BinaryIO) -> memoryview:
    """ended: what the process said last."""
    if ended == DONE:
        return memoryview(mmap.mmap(answer.fileno(), 0, prot=mmap.PROT_READ))
    if ended == REFUSED:
        raise read_error(answer)
    raise BridgeError(ErrorKind.LIMIT_EXCEEDED, "the query took too much time or memory")

"""XPath queries over many documents, each in a process of its own, and the limits on these processes.

An expression may run without end, any local user may send one, and a thread cannot be stopped; so each query
has a process that can be killed. The documents and the answer travel in files in memory: whatever the
answer's size, the service only maps it. Main thread only.
"""

import asyncio
import math
import mmap
import os
from collections.abc import Callable, Mapping
from typing import BinaryIO

from virtbridge.cache.evaluation import Query
from virtbridge.cache.fork_server import ForkServer
from virtbridge.cache.forking import DONE, REFUSED
from virtbridge.cache.query_files import read_error, write_work
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Bounds, Limiter
from virtbridge.turns import Turns, grant, turn


class Queries:
    """Processes are limited in total, for each user and for each client. Otherwise one client's endless
    queries would take all of them.

    program: the module that evaluates; the format of the answer is its own.
    """

    def __init__(self, bounds: Bounds, program: str) -> None:
        self._server = ForkServer(program)
        self._turns: Turns[asyncio.Future[None]] = Turns(grant, Limiter("queries", bounds))

    async def run(
        self,
        user: int,
        client: str,
        query: Query,
        documents: Callable[[], Mapping[str, str]],
        timeout_s: float,
    ) -> memoryview:
        """Return the program's answer. A query that has no process yet waits, within the same timeout.

        documents: called when the query gets its process, since thousands of queries may wait. Raises
        Timeout, LimitExceeded (too large an answer, or too little memory) and InvalidArgument (found only by
        evaluation); OSError when the system has no process left.
        """
        try:
            async with asyncio.timeout(timeout_s), turn(self._turns, user, client):
                with _file_in_memory() as work, _file_in_memory() as answer:
                    await asyncio.to_thread(write_work, work, query, documents())
                    # A second more: it is the timeout that ends it, or this where the processor is its alone.
                    ended = await self._server.run(math.ceil(timeout_s) + 1, work, answer)
                    return _answer_of(ended, answer)
        except TimeoutError:
            raise BridgeError(ErrorKind.TIMEOUT, f"the query took longer than {timeout_s:g} s") from None

    def close(self) -> None:
        """Close the program. All queries must have ended before."""
        self._server.close()


def _file_in_memory() -> BinaryIO:
    return open(os.memfd_create("query"), "w+b")


def _answer_of(ended: bytes, answer: BinaryIO) -> memoryview:
    """ended: the last message of the process."""
    if ended == DONE:
        return memoryview(mmap.mmap(answer.fileno(), 0, prot=mmap.PROT_READ))
    if ended == REFUSED:
        raise read_error(answer)
    raise BridgeError(ErrorKind.LIMIT_EXCEEDED, "the query took too much time or memory")

"""Long calls: each has a thread `vb-<name>-job` and a libvirt connection of its own, closed after it.

libvirtd serves five calls of a client at a time, and reads nothing more of that client while five are in
flight. So a call that takes minutes must not be one of the connection that everything else uses, nor take one
of its workers. A call goes on in libvirt when its caller here has stopped waiting. Threads: run() runs on the
main thread.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import libvirt

from virtbridge.config import ConnectionConfig
from virtbridge.memory import end_if_exhausted, need_room
from virtbridge.metrics import Metrics
from virtbridge.source.calls.errors import bridge_error
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.calls.opening import open_connection

# Makes the calls with a connection, each through the function that counts it: count(object, method, *args).
Count = Callable[..., Any]
Work = Callable[[Any, Count], Any]


class LongCalls:
    """Makes the long calls of one connection. At most `limit` threads exist at a time, those included whose
    host hangs.
    """

    def __init__(self, config: ConnectionConfig, inbox: Inbox, metrics: Metrics, limit: int) -> None:
        self._config = config
        self._inbox = inbox
        self._metrics = metrics
        self._turns = asyncio.Semaphore(limit)

    async def run(self, work: Work, on_begin: Callable[[], None]) -> Any:
        """Make calls in a new thread and return the last one's answer. work must not return an object of
        libvirt. on_begin: is called when it has its turn. Raises BridgeError.
        """
        await self._turns.acquire()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        name = f"vb-{self._config.name[:8]}-job"
        try:
            on_begin()
            need_room()
            threading.Thread(target=self._work, args=(work, answer), name=name, daemon=True).start()
        except Exception as error:  # such as that the system has no room for another thread
            self._turns.release()
            raise bridge_error(error) from None
        return await answer

    def _work(self, work: Work, answer: "asyncio.Future[Any]") -> None:
        try:
            result, failure = self._made(work), None
        except Exception as error:  # an edge: of libvirt, or of what it returned
            end_if_exhausted(error)
            result, failure = None, bridge_error(error)
        self._inbox.post(self._ended, answer, result, failure)

    def _made(self, work: Work) -> Any:
        self._metrics.add("libvirt.open")
        handle = open_connection(self._config)
        try:
            return work(handle, self._count)
        finally:
            self._metrics.add("libvirt.close")
            with suppress(libvirt.libvirtError):  # it was lost
                handle.close()

    def _count(self, target: Any, method: str, *args: Any) -> Any:
        self._metrics.add(f"libvirt.{method}")
        return getattr(target, method)(*args)

    def _ended(self, answer: "asyncio.Future[Any]", result: Any, failure: Exception | None) -> None:
        self._turns.release()
        if answer.done():
            return  # nobody waits any more
        if failure is None:
            answer.set_result(result)
        else:
            answer.set_exception(failure.with_traceback(None))

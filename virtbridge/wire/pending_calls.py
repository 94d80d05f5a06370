"""Calls of ours that wait for their replies.

A reply is for a call when it has the call's serial and comes from whom was asked. A call ends with its reply,
with its deadline, when its caller is cancelled, or with the connection; a reply that comes later is thrown
away, and its descriptors are closed. Main thread only.
"""

import asyncio

from virtbridge.wire.errors import BusError
from virtbridge.wire.framing import Incoming
from virtbridge.wire.names import BUS_NAME, DISCONNECTED, NO_REPLY


class PendingCalls:
    """The calls that have been sent and not been answered, by their serials."""

    def __init__(self) -> None:
        self._pending: dict[int, tuple[str, asyncio.Future[Incoming]]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, serial: int, destination: str) -> "asyncio.Future[Incoming]":
        """The future of the reply to the call that has this serial; reply_to() waits for it."""
        future: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        self._pending[serial] = destination, future
        return future

    async def reply_to(self, serial: int, member: str, timeout_s: float | None) -> Incoming:
        """Wait for the reply to a call that was added. It may be an error, and its descriptors are the
        caller's. Raises BusError at the deadline and at the end of the connection.
        """
        destination, future = self._pending[serial]
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            _discard(future)
            raise BusError(NO_REPLY, f"{destination} did not answer {member} in {timeout_s} s") from error
        except asyncio.CancelledError:
            _discard(future)
            raise
        finally:
            del self._pending[serial]

    def take(self, reply: Incoming) -> None:
        """A reply has come: its call ends, or it is thrown away."""
        destination, future = self._pending.get(reply.reply_serial, ("", None))
        # Serials can be guessed, so only who was asked may answer, and the bus itself in its place. A
        # well-known name answers under a unique one, and the bus checks that it is the right one.
        asked = reply.sender in (destination, BUS_NAME) or not (destination.startswith(":") and reply.sender)
        if future is None or future.done() or not asked:
            reply.discard()
            return
        future.set_result(reply)

    def end(self, reason: str) -> None:
        """The connection has ended, and every waiting call with it."""
        for _, future in self._pending.values():
            if not future.done():
                future.set_exception(BusError(DISCONNECTED, reason))


def _discard(future: "asyncio.Future[Incoming]") -> None:
    """The reply may have come in the same turn in which its caller gave up: nobody else has it."""
    if future.done() and not future.cancelled() and future.exception() is None:
        future.result().discard()

"""The link: one connection to a message bus, for services and for clients.

It serves calls (call_server.py) over a stream of messages (stream.py), makes calls of its own, hears signals
and follows names. It knows nothing of what messages are about. Two names or two APIs that shall not congest
each other have two links. Nothing here blocks. Main thread only.
What the libraries' own buses do wrong, and why they are not used, is explained in transport.py.
"""

import logging
import socket
from collections.abc import Sequence
from typing import Any

from virtbridge.wire import framing, transport
from virtbridge.wire.call_server import CallServer
from virtbridge.wire.dial import dial
from virtbridge.wire.errors import BusError, ErrorNames, LinkLost
from virtbridge.wire.framing import Incoming
from virtbridge.wire.limits import LinkCounts, LinkLimits
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.name_owners import NameOwners
from virtbridge.wire.names import BUS_NAME, BUS_PATH, DISCONNECTED, FAILED, LIMITS_EXCEEDED, NOT_SUPPORTED
from virtbridge.wire.pending_calls import PendingCalls
from virtbridge.wire.stream import RECEIVE_BYTES
from virtbridge.wire.subscriptions import Listener, Subscription, Subscriptions

__all__ = ["BusError", "ErrorNames", "Link", "LinkCounts", "LinkLimits", "LinkLost"]

log = logging.getLogger(__name__)

_RECEIVES = 4  # in one turn, while each reads as much as it can: what is behind a flood is reached soon
_DEADLINE_S = 25.0  # of a call of ours, as libdbus has it
_LIMITS = LinkLimits()
_ERROR_NAMES = ErrorNames()


class Link(CallServer):
    """A connection to a message bus, made by `await Link.connect(address)`.

    Calls of a sender that has left the bus meanwhile are dropped, if a rule makes the bus announce that
    (clients.py has one).
    """

    def __init__(
        self, sock: socket.socket, passes_fds: bool, limits: LinkLimits, names: ErrorNames = _ERROR_NAMES
    ) -> None:
        super().__init__(sock, passes_fds, limits, names)
        self._pending = PendingCalls()
        self._subscriptions = Subscriptions(self.ask_bus, NameOwners(self.ask_bus, self.subscribe))
        self.unique_name = ""

    @classmethod
    async def connect(
        cls, address: str, limits: LinkLimits = _LIMITS, names: ErrorNames = _ERROR_NAMES
    ) -> "Link":
        """Connect to the bus. Raises DialError when no bus answers at the address, BusError when it refuses
        us.
        """
        sock, passes_fds = await dial(address)
        link = cls(sock, passes_fds, limits, names)
        link.start()
        try:
            (link.unique_name,) = await link.ask_bus("Hello")
        except BaseException:
            link.close()
            raise
        return link

    @property
    def owners(self) -> NameOwners:
        """The owners of the names that are followed."""
        return self._subscriptions.owners

    # -- signals --------------------------------------------------------------------------------------------

    def signal(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: bytes,
        destination: str | None = None,
    ) -> None:
        """Broadcast, or send to one destination. A signal too large for the bus is dropped and logged."""
        if len(body) > self._most_body:
            log.error("signal too large, not sent: member=%s bytes=%d", member, len(body))
            return
        self.counts.signals += 1
        self.send(
            self._headers.signal(self._serial(), path, interface, member, signature, body, destination or "")
        )

    async def subscribe(self, rule: MatchRule, listener: Listener) -> Subscription:
        """Call the listener with every signal that fits the rule, from the moment the bus has the rule.

        The rule's sender may be a well-known name, whoever owns it at the time. A signal's descriptors are
        closed when the last listener has returned. Raises BusError.
        """
        if rule.sender and rule.sender != BUS_NAME and not rule.sender.startswith(":"):
            await self.owners.follow(rule.sender)
        return await self._subscriptions.add(rule, listener)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """The listener hears nothing more, from this moment on. Raises BusError."""
        await self._subscriptions.end(subscription)

    # -- calls of our own -----------------------------------------------------------------------------------

    async def ask_bus(self, member: str, *strings: str) -> list[Any]:
        """Call a method of the bus itself that takes strings. Raises BusError."""
        return await self.call(BUS_NAME, BUS_PATH, BUS_NAME, member, "s" * len(strings), strings)

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        timeout_s: float | None = _DEADLINE_S,
        flags: int = 0,
    ) -> list[Any]:
        """Call a method, and return the reply's arguments, Variants kept. The reply's descriptors are closed.

        flags: the message's, such as ALLOW_INTERACTIVE_AUTHORIZATION.
        Raises BusError (an error reply, no reply in time, no bus) and MarshalError.
        """
        values, fds = await self.call_with_fds(
            destination, path, interface, member, signature, body, timeout_s=timeout_s, flags=flags
        )
        framing.close_all(fds)
        return values

    async def call_with_fds(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        fds: Sequence[int] = (),
        *,
        timeout_s: float | None = _DEADLINE_S,
        flags: int = 0,
    ) -> tuple[list[Any], tuple[int, ...]]:
        """As call(), with descriptors both ways. An `h` in a body is an index into them.

        The link owns `fds` from here on, also when it raises; the caller owns those of the reply.
        """
        serial = self._serial()
        try:
            marshalled = transport.marshal(signature, body)
            self._check_sendable(len(marshalled), bool(fds))
            frame = self._headers.method_call(
                serial, destination, path, interface, member, signature, marshalled, flags, len(fds)
            )
        except BaseException:
            framing.close_all(fds)
            raise
        reply = await self.exchange(frame, serial, destination, member, timeout_s=timeout_s, fds=fds)
        return _values(reply), reply.fds

    def call_without_reply(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
    ) -> None:
        """Send a call that wants no reply. Nobody learns whether it was served. Raises as call()."""
        marshalled = transport.marshal(signature, body)
        self._check_sendable(len(marshalled), False)
        flags = framing.NO_REPLY_EXPECTED
        self.send(
            self._headers.method_call(
                self._serial(), destination, path, interface, member, signature, marshalled, flags
            )
        )

    async def exchange(
        self,
        frame: bytes,
        serial: int,
        destination: str,
        member: str,
        *,
        timeout_s: float | None = _DEADLINE_S,
        fds: Sequence[int] = (),
    ) -> Incoming:
        """Send a call that is already a frame with this serial, and wait for its reply.

        The reply may be an error. The caller owns its descriptors. Raises BusError: no reply in time, no bus.
        """
        if self._ended:
            framing.close_all(fds)
            raise BusError(DISCONNECTED, "the bus is gone")
        self._pending.add(serial, destination)
        self.send(frame, fds)
        return await self._pending.reply_to(serial, member, timeout_s)

    def _check_sendable(self, size: int, with_fds: bool) -> None:
        """Refuse what the bus would cut the connection for. Raises BusError."""
        if size > self._most_body:
            raise BusError(LIMITS_EXCEEDED, f"the call has {size} bytes")
        if with_fds and not self.passes_fds:
            raise BusError(NOT_SUPPORTED, "the bus cannot carry descriptors")

    # -- receiving ------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        """Sort all that has arrived before any call that waits is served, and then write all answers."""
        self._begin_turn()
        for _ in range(_RECEIVES):
            messages, size = self.receive()
            for message in messages:
                if self._ended:
                    message.discard()
                elif message.kind == framing.METHOD_CALL and not message.malformed:
                    self.counts.calls += 1
                    self._inbound.accept(message)
                else:
                    self._dispatch(message)
            if size < RECEIVE_BYTES or self._ended or self._inbound.full:
                break
        self._end_turn(bool(self._inbound.queued))

    def _dispatch(self, message: Incoming) -> None:
        """Take anything but a call."""
        if message.malformed:
            message.discard()
        elif message.kind == framing.SIGNAL:
            if message.member == "NameOwnerChanged" and message.sender == BUS_NAME:
                self._drop_calls_of_departed(message)
            for listener in self._subscriptions.listeners(message):
                self._guard(listener, message)
            message.discard()
        else:
            self._on_reply(message)

    def _drop_calls_of_departed(self, signal: Incoming) -> None:
        # Handling its calls after the signal that it has left would begin watches that nobody ends.
        try:
            name, _old, new = transport.arguments(signal)
        except (transport.BadBody, ValueError):
            return
        if new == "":
            self.drop_calls(name)

    def _on_reply(self, reply: Incoming) -> None:
        self._pending.take(reply)

    def _on_end(self, reason: LinkLost | None) -> None:
        super()._on_end(reason)
        self._pending.end(str(reason or "the link was closed"))


def _values(reply: Incoming) -> list[Any]:
    """Return the arguments of a reply. When it is an error, its descriptors are closed, and BusError is
    raised.
    """
    try:
        values = transport.arguments(reply)
    except transport.BadBody as error:
        reply.discard()
        raise BusError(FAILED, str(error)) from error
    if reply.kind == framing.ERROR:
        reply.discard()
        raise BusError(reply.error_name, values[0] if values and isinstance(values[0], str) else "")
    return values

"""The limits of one D-Bus connection, and its counters."""

from dataclasses import dataclass, field
from typing import Final

from virtbridge.limiter import Bounds, Portions
from virtbridge.wire.inbound import InboundLimits

_HEADER_BYTES: Final = 4096  # a header of ours, with the sender that the bus adds, is never longer


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """All sizes are in bytes.

    call_bytes: a call whose header or body is larger is refused unread.
    message_bytes: the largest message that the bus takes from us (32 MiB on the system bus). The bus cuts the
    connection of a sender that exceeds it.
    high_water_bytes, low_water_bytes: the link is congested from when more than the first are queued until
    fewer than the second are.
    reply_bytes: a client, a user or all clients with more bytes of queued replies get no further replies
    until the bus has taken some.
    """

    call_bytes: int = 64 * 1024
    message_bytes: int = 32 * 1024 * 1024
    high_water_bytes: int = 8 * 1024 * 1024
    low_water_bytes: int = 2 * 1024 * 1024
    reply_bytes: Bounds = field(default_factory=lambda: Portions().of(1 << 20, per_client=8 << 10))
    inbound: InboundLimits = field(default_factory=InboundLimits)

    @property
    def body_bytes(self) -> int:
        """The largest body that fits into a message."""
        return self.message_bytes - _HEADER_BYTES


@dataclass(slots=True)
class LinkCounts:
    """Totals since the link was connected. refused: calls that were above a limit."""

    calls: int = 0
    replies: int = 0
    errors: int = 0
    signals: int = 0
    refused: int = 0

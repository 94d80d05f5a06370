"""Clients: who has called us and is still on the bus. The audit runs only while there is one. Main thread
only.
"""

from collections.abc import Callable

from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import BusError, Link
from virtbridge.wire.names import BUS_NAME, BUS_PATH
from virtbridge.wire.transport import arguments

# One rule for all clients: a bus tells only of names that lost their owner.
_RULE = f"type='signal',sender='{BUS_NAME}',interface='{BUS_NAME}',member='NameOwnerChanged',arg2=''"


class Clients:
    """vanished: called with the unique name of each of our callers that left the bus."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._uids: dict[str, int | None] = {}
        self.vanished: list[Callable[[str], None]] = []

    async def watch(self) -> None:
        self._link.on_signal = self._on_signal
        await self._link.call(BUS_NAME, BUS_PATH, BUS_NAME, "AddMatch", "s", [_RULE])

    def present(self) -> bool:
        return bool(self._uids)

    def __len__(self) -> int:
        return len(self._uids)

    def seen(self, sender: str) -> None:
        """Somebody called. Cheap: once per call."""
        self._uids.setdefault(sender, None)

    async def uid(self, sender: str) -> int:
        """The Unix user of a caller, from the bus; -1 when it has left or the bus does not know."""
        known = self._uids.get(sender)
        if known is not None:
            return known
        try:
            [uid] = await self._link.call(
                BUS_NAME, BUS_PATH, BUS_NAME, "GetConnectionUnixUser", "s", [sender]
            )
        except BusError:
            return -1
        if sender in self._uids:
            self._uids[sender] = uid
        return int(uid)

    def _on_signal(self, signal: Incoming) -> None:
        if signal.sender != BUS_NAME or signal.member != "NameOwnerChanged" or signal.signature != "sss":
            return
        name, _old, new = arguments(signal)
        if new == "" and name in self._uids:
            del self._uids[name]
            for tell in self.vanished:
                tell(name)

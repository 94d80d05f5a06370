"""Names on the bus, and who owns each: services that start and stop, and clients that leave.

Main thread only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from virtbridge.wire import transport
from virtbridge.wire.errors import BusError
from virtbridge.wire.framing import Incoming
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.names import BUS_NAME, NAME_HAS_NO_OWNER


class NameOwners:
    """ask_bus: calls a method of the bus with strings. on_change: is called with a name that is followed, and
    its new owner, "" when it has none any more.
    """

    def __init__(
        self,
        ask_bus: Callable[[str, str], Awaitable[Sequence[object]]],
        subscribe: Callable[[MatchRule, Callable[[Incoming], None]], Awaitable[object]],
    ) -> None:
        self._ask_bus = ask_bus
        self._subscribe = subscribe
        self._owners: dict[str, str] = {}
        self._subscribed: set[str] = set()
        self._following = asyncio.Lock()
        self.on_change: list[Callable[[str, str], None]] = []

    def owner(self, name: str) -> str:
        """The unique name behind a name that is followed; "" when nobody owns it."""
        return self._owners.get(name, "")

    async def follow(self, name: str) -> str:
        """Know the owner of a name from now on, until the connection ends; returns the owner.

        A unique name owns itself until it leaves the bus. Raises BusError.
        """
        async with self._following:
            if name not in self._owners:
                await self._begin(name)
        return self.owner(name)

    async def _begin(self, name: str) -> None:
        if name not in self._subscribed:
            rule = MatchRule(sender=BUS_NAME, interface=BUS_NAME, member="NameOwnerChanged", args={0: name})
            await self._subscribe(rule, self._on_name_owner_changed)
            self._subscribed.add(name)
        try:
            [owner] = await self._ask_bus("GetNameOwner", name)
        except BusError as error:
            if error.name != NAME_HAS_NO_OWNER:
                raise
            owner = ""
        # A change that was announced meanwhile is at least as new as this answer.
        self._owners.setdefault(name, str(owner))

    def _on_name_owner_changed(self, signal: Incoming) -> None:
        name, _old, new = transport.arguments(signal)
        self._owners[name] = new
        for listener in self.on_change:
            listener(name, new)

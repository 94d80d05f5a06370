"""Clients: who has called us and is still on the bus, and which user each of them is. The audit runs only
while there is one. Main thread only.
"""

import asyncio
import os
from collections.abc import Callable

from virtbridge.limiter import UNKNOWN
from virtbridge.tasks import end_all
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import BusError, Link
from virtbridge.wire.names import BUS_NAME, BUS_PATH
from virtbridge.wire.transport import arguments

# One rule for all clients: a bus tells only of names that lost their owner.
_RULE = f"type='signal',sender='{BUS_NAME}',interface='{BUS_NAME}',member='NameOwnerChanged',arg2=''"


class Clients:
    """vanished: called with the unique name of each of our callers that left the bus.

    session: every client is the user whose bus this is, so the bus is not asked.
    """

    def __init__(self, link: Link, *, session: bool) -> None:
        self._link = link
        self._only_user = os.geteuid() if session else None
        self._users: dict[str, int | None] = {}
        self._questions: set[asyncio.Task[None]] = set()
        self.vanished: list[Callable[[str], None]] = []
        link.find_users_with(self._identify)

    async def watch(self) -> None:
        self._link.on_signal = self._on_signal
        await self._link.call(BUS_NAME, BUS_PATH, BUS_NAME, "AddMatch", "s", [_RULE])

    def present(self) -> bool:
        return bool(self._users)

    def __len__(self) -> int:
        return len(self._users)

    def user(self, sender: str) -> int:
        """The Unix user of a caller whose call was handed out; UNKNOWN when it has left since."""
        user = self._users.get(sender)
        return UNKNOWN if user is None else user

    async def stop(self) -> None:
        await end_all(self._questions)

    def _identify(self, sender: str) -> int | None:
        """Somebody called. Cheap: once per call. None while the bus is asked, once for each unique name."""
        if sender in self._users:
            return self._users[sender]
        self._users[sender] = self._only_user
        if self._only_user is None:
            question = asyncio.create_task(self._ask(sender))
            self._questions.add(question)
            question.add_done_callback(self._questions.discard)
        return self._only_user

    async def _ask(self, sender: str) -> None:
        try:
            [user] = await self._link.call(
                BUS_NAME, BUS_PATH, BUS_NAME, "GetConnectionUnixUser", "s", [sender]
            )
        except BusError:
            user = UNKNOWN  # it has left, or came over a transport that has no users
        if sender in self._users:
            self._users[sender] = int(user)
            self._link.identified(sender, int(user))

    def _on_signal(self, signal: Incoming) -> None:
        if signal.sender != BUS_NAME or signal.member != "NameOwnerChanged" or signal.signature != "sss":
            return
        name, _old, new = arguments(signal)
        if new == "" and name in self._users:
            del self._users[name]
            for tell in self.vanished:
                tell(name)

"""Clients: who has called us and is still on the bus, and which Unix user each of them is.

The bus says which user a sender is only when it is asked, so the first call of a client waits for its answer.
Main thread only.
"""

import asyncio
import os
from collections.abc import Callable

from virtbridge.limiter import UNKNOWN
from virtbridge.tasks import end_all
from virtbridge.wire.errors import BusError
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import Link
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.names import BUS_NAME
from virtbridge.wire.transport import arguments

# One rule for all clients, which fits only names that have lost their owner.
_RULE = MatchRule(sender=BUS_NAME, interface=BUS_NAME, member="NameOwnerChanged", args={2: ""})


class Clients:
    """session: every client is the user whose bus this is, so the bus is not asked.

    vanished: each is called with the unique name of a client that has called us and has left the bus.
    """

    def __init__(self, link: Link, *, session: bool) -> None:
        self._link = link
        self._only_user = os.geteuid() if session else None
        self._users: dict[str, int | None] = {}
        self._questions: set[asyncio.Task[None]] = set()
        self.vanished: list[Callable[[str], None]] = []
        link.find_users_with(self._identify)

    async def watch(self) -> None:
        """Hear of clients that leave the bus. Raises BusError."""
        await self._link.subscribe(_RULE, self._on_name_lost)

    def present(self) -> bool:
        """Whether any client that has called is still on the bus."""
        return bool(self._users)

    def __len__(self) -> int:
        return len(self._users)

    def user(self, sender: str) -> int:
        """The Unix user of a caller whose call was handed out; UNKNOWN when it has left since."""
        user = self._users.get(sender)
        return UNKNOWN if user is None else user

    async def stop(self) -> None:
        """The bus is asked nothing more."""
        await end_all(self._questions)

    def _identify(self, sender: str) -> int | None:
        """Somebody has called. None while the bus is asked, which happens once for each unique name."""
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
            [user] = await self._link.ask_bus("GetConnectionUnixUser", sender)
        except BusError:
            user = UNKNOWN  # it has left, or came over a transport that has no users
        if sender in self._users:
            self._users[sender] = int(user)
            self._link.identified(sender, int(user))

    def _on_name_lost(self, signal: Incoming) -> None:
        name, _old, _new = arguments(signal)
        if name in self._users:
            del self._users[name]
            for listener in self.vanished:
                listener(name)

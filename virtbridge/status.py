"""How the service is, for systemd and `systemctl status`: READY, and the connections' states in summary.

It is sent again where systemd has not read the earlier messages yet. Main thread only.
"""

import asyncio
from collections import Counter

from virtbridge.cache.cache import Cache
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import ConnectionRecord
from virtbridge.notify import Notifier

_RETRY_S = 0.2


class Status:
    """cache: has the records of the connections."""

    def __init__(self, cache: Cache, notifier: Notifier) -> None:
        self._cache = cache
        self._notifier = notifier
        self._sent = ""
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send changes of state from now on. READY had to be alone: systemd takes only so many messages at
        once.
        """
        self._cache.listen([Kind.CONNECTION], changed=self._changed)

    def reloading(self) -> None:
        """Announce a reload, which lasts until announce_ready()."""
        self._notifier.reloading()

    async def announce_ready(self) -> None:
        """Announce that the name is owned, or that the new configuration is in use."""
        while not self._notifier.ready(summary := self._summary()):  # noqa: ASYNC110 (systemd has no event for it)
            await asyncio.sleep(_RETRY_S)
        self._sent = summary

    def _changed(self, _key: Key) -> None:
        if self._retry is None:
            self._send()

    def _send(self) -> None:
        self._retry = None
        if (summary := self._summary()) == self._sent:
            return
        if self._notifier.status(summary):
            self._sent = summary
        else:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._send)

    def _summary(self) -> str:
        records = [record for _, record in self._cache.records(Kind.CONNECTION)]
        states = Counter(record.state for record in records if isinstance(record, ConnectionRecord))
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no connections"

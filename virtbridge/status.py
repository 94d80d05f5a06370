"""How the service is, for systemd and `systemctl status`: READY, and the connections' states in summary.

Told again where systemd has not read yet what it was told before. Main thread only.
"""

import asyncio
from collections import Counter

from virtbridge.cache.cache import Cache
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import ConnectionRecord
from virtbridge.notify import Notifier

_RETRY_S = 0.2


class Status:
    """cache: what is known of the connections."""

    def __init__(self, cache: Cache, notifier: Notifier) -> None:
        self._cache = cache
        self._notifier = notifier
        self._sent = ""
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tell the states from now on: systemd takes so many messages at once, and READY was to be one."""
        self._cache.listen([Kind.CONNECTION], changed=self._changed)

    def reloading(self) -> None:
        """Until announce_ready()."""
        self._notifier.reloading()

    async def announce_ready(self) -> None:
        """The name is owned, or the new configuration in use."""
        while not self._notifier.ready(summary := self._summary()):  # noqa: ASYNC110 (systemd does not tell)
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

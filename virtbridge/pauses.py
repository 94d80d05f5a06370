"""Pauses between readings of the same thing: a client that asks again and again leaves libvirt time for
others.

For every layer; main thread.
"""

import asyncio
from collections.abc import Hashable


class Pauses:
    """After a reading, the same thing is not read for `times` times as long as the reading took, at most
    most_s.
    """

    def __init__(self, times: float, most_s: float) -> None:
        self._times = times
        self._most_s = most_s
        self._until_s: dict[Hashable, float] = {}

    async def wait(self, what: Hashable) -> None:
        """Wait until the next reading of this may begin."""
        await asyncio.sleep(self._until_s.get(what, 0.0) - asyncio.get_running_loop().time())

    def begin(self, what: Hashable, took_s: float) -> None:
        loop = asyncio.get_running_loop()
        until_s = self._until_s[what] = loop.time() + min(self._most_s, self._times * took_s)
        loop.call_at(until_s, self._end, what, until_s)

    def forget(self, what: Hashable) -> None:
        """Forget the name: a new thing with the same name has no pause of the old one."""
        self._until_s.pop(what, None)

    def _end(self, what: Hashable, until_s: float) -> None:
        if self._until_s.get(what) == until_s:
            del self._until_s[what]

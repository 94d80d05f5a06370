"""Waits for the event that an operation leads to, which may come before libvirt's answer or shortly after it.

Main thread.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from virtbridge.model.keys import Key


class EventWait:
    """Keeps which objects had a lifecycle event with one of these words since it began."""

    def __init__(self, words: Collection[str]) -> None:
        self._words = words
        self._keys: set[Key] = set()
        self._arrived = asyncio.Event()

    def note(self, key: Key, word: str) -> None:
        """An event of this object was applied."""
        if word in self._words:
            self._keys.add(key)
            self._arrived.set()

    async def wait(self, key: Key, seconds: float) -> bool:
        """Wait so long for an event of this object. Returns whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                while key not in self._keys:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True


class EventWaits:
    """The waits of all operations in flight."""

    def __init__(self) -> None:
        self._all: list[EventWait] = []

    def note(self, key: Key, word: str) -> None:
        """An event of this object was applied."""
        for each in self._all:
            each.note(key, word)

    @contextmanager
    def begin(self, words: Collection[str]) -> Iterator[EventWait]:
        """Begin to wait for events with one of these words. It has to begin before libvirt is called."""
        wait = EventWait(words)
        self._all.append(wait)
        try:
            yield wait
        finally:
            self._all.remove(wait)

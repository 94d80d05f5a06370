"""Waiting for the event that an operation leads to: it may come before libvirt's answer, or shortly after it.

Main thread.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from virtbridge.model.keys import Key


class Hearing:
    """The lifecycle events with one of these words that have been applied since it began."""

    def __init__(self, words: Collection[str]) -> None:
        self._words = words
        self._keys: set[Key] = set()
        self._arrived = asyncio.Event()

    def note(self, key: Key, word: str) -> None:
        if word in self._words:
            self._keys.add(key)
            self._arrived.set()

    async def wait(self, key: Key, seconds: float) -> bool:
        """Whether one came for this object, which may take so long."""
        try:
            async with asyncio.timeout(seconds):
                while key not in self._keys:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True


class Hearings:
    """All that wait at the moment."""

    def __init__(self) -> None:
        self._all: list[Hearing] = []

    def note(self, key: Key, word: str) -> None:
        """This event was applied."""
        for each in self._all:
            each.note(key, word)

    @contextmanager
    def of(self, words: Collection[str]) -> Iterator[Hearing]:
        hearing = Hearing(words)
        self._all.append(hearing)
        try:
            yield hearing
        finally:
            self._all.remove(hearing)

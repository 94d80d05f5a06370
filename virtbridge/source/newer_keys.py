"""The objects that changed while a listing or read was in flight, which must not undo the change. Main
thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from virtbridge.model.keys import Key


class NewerKeys:
    """A listing takes a while. An event that arrives meanwhile may be newer or older than the listing, and
    libvirt does not say which. The event is used, since another one follows if the object changes again.
    """

    def __init__(self) -> None:
        self._readings: list[set[Key]] = []

    def note(self, key: Key) -> None:
        """Note that something newer than any reading now in flight is known about this object."""
        for keys in self._readings:
            keys.add(key)

    @contextmanager
    def since_now(self) -> Iterator[set[Key]]:
        """Give the keys that are noted from now until the end of the block. The set grows meanwhile."""
        keys: set[Key] = set()
        self._readings.append(keys)
        try:
            yield keys
        finally:
            self._readings = [each for each in self._readings if each is not keys]

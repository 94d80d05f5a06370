"""What has become newer than a reading under way, so that the reading does not undo it. Main thread."""

from collections.abc import Iterator
from contextlib import contextmanager

from virtbridge.model.keys import Key


class NewerKeys:
    """A listing takes a while. An event that comes meanwhile may be newer than the listing or older: libvirt
    does not say which. The event is taken, since another will follow if anything changes again.
    """

    def __init__(self) -> None:
        self._readings: list[set[Key]] = []

    def note(self, key: Key) -> None:
        """Something newer than any reading now under way is known of this object."""
        for keys in self._readings:
            keys.add(key)

    @contextmanager
    def since_now(self) -> Iterator[set[Key]]:
        """Gives the keys that are noted from now until the end of the block; it grows meanwhile."""
        keys: set[Key] = set()
        self._readings.append(keys)
        try:
            yield keys
        finally:
            self._readings = [each for each in self._readings if each is not keys]

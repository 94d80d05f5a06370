"""A ring of recent samples for each domain, so that a new graph starts with past values.

A row is a moment (virtbridge.clock) and the domain's own statistics (model.statistics.HISTORY) as doubles;
NaN stands for a value that libvirt did not report. A value takes 8 bytes, however much else a sample
contains. It calls nothing outside this process.
"""

from array import array
from collections.abc import Iterator
from math import isnan, nan

from virtbridge.model.keys import Key
from virtbridge.model.statistics import BYTE_KEYS, HISTORY, Sample, Values

_ROW = 1 + len(HISTORY)


class History:
    """length: the rows kept for each domain; 0 keeps none."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._rings: dict[Key, array[float]] = {}
        self._next: dict[Key, int] = {}  # the position of the oldest row in a full ring

    def __len__(self) -> int:
        return len(self._rings)

    def add(self, key: Key, sample: Sample) -> None:
        if not self._length:
            return
        row = [float(sample.moment_us), *(float(sample.values.get(name, nan)) for name in HISTORY)]
        ring = self._rings.setdefault(key, array("d"))
        if len(ring) < self._length * _ROW:
            ring.extend(row)
            return
        at = self._next.get(key, 0)
        ring[at * _ROW : (at + 1) * _ROW] = array("d", row)
        self._next[key] = (at + 1) % self._length

    def rows(self, key: Key) -> Iterator[tuple[int, Values]]:
        """Yield moments and values, the oldest first."""
        ring = self._rings.get(key, array("d"))
        count = len(ring) // _ROW
        first = self._next.get(key, 0)
        for place in range(count):
            at = (first + place) % count * _ROW
            yield int(ring[at]), _values(ring[at + 1 : at + _ROW])

    def drop(self, key: Key) -> None:
        self._rings.pop(key, None)
        self._next.pop(key, None)


def _values(row: "array[float]") -> Values:
    figures = zip(HISTORY, row, strict=True)
    return {
        name: int(figure) if name in BYTE_KEYS else figure for name, figure in figures if not isnan(figure)
    }

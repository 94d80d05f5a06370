"""Replies with a row per object, made in steps, and complete only at their place in the stream.

A client that mirrors our objects applies what it hears in the order in which it hears it. A body that is made
in several turns of the loop would be older than the signals that leave meanwhile, and the client, applying it
after them, would undo them. So each row is kept with the version of what it shows, and the last step, in
which the reply is also queued for the socket, makes those anew that changed since. The rows are not joined:
the socket takes them as they are, and a kept marshalled entry is not copied.
Main thread only; knows no link.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import islice
from operator import attrgetter
from time import monotonic
from typing import Generic, TypeVar

from virtbridge.bus.published_object import PublishedObject
from virtbridge.wire.bodies import PADDING, UINT32, pack_string

T = TypeVar("T", bound=Hashable)

_FEW = 32  # a reply with so few rows is a large one only by its bytes
_LAST_STEP = 256  # so many rows may be made again in the last step
_AT_ONCE = 16  # rows between two questions for the time
# Changes that come faster than rows are made would never let a reply go.
_PASSES = 8
_JOINED_BYTES = 2 << 20  # up to so many it costs less to copy them than to send them one by one
_UNMADE = (object(), b"")  # a version that no row has


class Rows(Generic[T]):
    """An array with an entry for each item.

    items: those that there are now, in order. row: marshals the entry of one item, not padded.
    version: stays equal as long as the row would. alignment: of the array's elements.
    """

    waiting_bytes = 0

    def __init__(
        self,
        items: Callable[[], Iterable[T]],
        row: Callable[[T], bytes],
        version: Callable[[T], object],
        *,
        alignment: int = 8,
    ) -> None:
        self._items = items
        self._row = row
        self._version = version
        self._alignment = alignment
        self._made: dict[T, tuple[object, bytes]] = {}
        self._left: Iterator[T] = iter(())
        self._passes = 0

    def at_once(self) -> bytes | None:
        """Return the complete body, where the rows are so few that it needs no turn; None where there are
        more.
        """
        few = list(islice(self._items(), _FEW + 1))
        return None if len(few) > _FEW else b"".join(self.parts())

    def prepare(self, until: float) -> bool:
        has_made = False
        while True:
            while some := list(islice(self._left, _AT_ONCE)):
                self._make(some)
                has_made = True
                if monotonic() >= until:
                    return False
            outdated = self._outdated()
            self._passes += 1
            if len(outdated) <= _LAST_STEP or self._passes > _PASSES:
                return not has_made or monotonic() < until  # else the last step has a turn of its own
            self._left = iter(outdated)

    def parts(self) -> list[bytes]:
        most = self._alignment - 1
        parts: list[bytes] = []
        for entry in self._entries():
            parts += (entry, PADDING[-len(entry) & most])
        del parts[-1:]  # what pads the last entry is not the array's
        size = sum(map(len, parts))
        head = [UINT32.pack(size), PADDING[self._alignment - 4]]
        return [*head, b"".join(parts)] if size <= _JOINED_BYTES else [*head, *parts]

    def _outdated(self) -> list[T]:
        made, version = self._made, self._version
        return [item for item in self._items() if made.get(item, _UNMADE)[0] != version(item)]

    def _make(self, items: Iterable[T]) -> None:
        for item in items:
            self._made[item] = self._version(item), self._row(item)

    def _entries(self) -> Iterable[bytes]:
        made, row, version = self._made, self._row, self._version
        for item in self._items():
            known, entry = made.get(item, _UNMADE)
            yield entry if known == version(item) else row(item)


class Kept(Rows[PublishedObject]):
    """The rows of GetManagedObjects, which the objects themselves keep marshalled."""

    def __init__(self, objects: Callable[[], Iterable[PublishedObject]]) -> None:
        super().__init__(objects, PublishedObject.object_entry, attrgetter("changes"))

    def _outdated(self) -> list[PublishedObject]:
        return [known for known in self._items() if not known.has_entry]

    def _make(self, items: Iterable[PublishedObject]) -> None:
        for known in items:
            known.object_entry()

    def _entries(self) -> Iterable[bytes]:
        return [known.object_entry() for known in self._items()]


def entries(
    objects: Callable[[], Iterable[PublishedObject]], row: Callable[[PublishedObject], bytes]
) -> Rows[PublishedObject]:
    """Make a row for each object. A row depends on nothing but what clients know of the object."""
    return Rows(objects, row, attrgetter("changes"))


def paths(objects: Callable[[], Iterable[PublishedObject]]) -> Rows[str]:
    """Return a body `ao`, sorted."""
    return Rows(lambda: sorted([known.path for known in objects()]), pack_string, len, alignment=4)

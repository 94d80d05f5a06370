"""Changes: what a source sends to the cache. They are the only values that the two exchange.

A source sends them in the order in which libvirt announced them, and the cache applies them in that order.
They are tuples, as they are made for every event and every object of a listing, and a frozen dataclass takes
longer. Pure.
"""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import Record

# The members of a Signal: an event of libvirt's lifecycle, any other event, and the end of a job.
LIFECYCLE, EVENT, COMPLETED = "Lifecycle", "Event", "Completed"


class Put(NamedTuple):
    """The object is as in this record, whether it was known before or not."""

    key: Key
    record: Record


class Patch(NamedTuple):
    """Some fields of the record have changed, by their names. It is ignored when the object is not known."""

    key: Key
    fields: Mapping[str, Any]


class Drop(NamedTuple):
    """The object was removed."""

    key: Key


class Listing(NamedTuple):
    """The ids of all there is of one kind on one connection, or in one parent: what is not among them was
    removed.

    What is there comes as Put and Patch, a few at a time, so that nothing else waits for thousands of them.
    Only ever made from a listing that succeeded: failure is not emptiness.
    """

    connection: str
    kind: Kind
    ids: Set[str]
    parent: str = ""


class Signal(NamedTuple):
    """Something happened to an object. It is published after the state that followed from it.

    member: LIFECYCLE (event, detail: two strings) or EVENT (name, details: a string and a mapping of plain
    values: str, bool, int, float, list of str, mapping), COMPLETED (success, error, message: the error is a
    kind of error in words, empty for a success).
    """

    key: Key
    member: str
    args: tuple[Any, ...]


class Forget(NamedTuple):
    """The connection was closed for good: it is removed with all its objects."""

    connection: str


Change = Put | Patch | Drop | Listing | Signal | Forget

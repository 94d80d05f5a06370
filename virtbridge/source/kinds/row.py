"""What a row of the table of kinds has: how libvirt lists, announces, reads and finds the objects of a kind.

The code that lists, reads and follows is the same for all kinds; what differs between them is in the rows.
Whether a driver has a kind, and announces its events, is known at run time only. Pure.

Source: libvirt's virConnectListAll*() families and event ids.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from virtbridge.model.keys import Kind
from virtbridge.source.kinds.events import EventSpec
from virtbridge.source.kinds.outcomes import Outcome

Records = dict[str, Any]  # records of one kind in one parent, by id


class Handle(NamedTuple):
    """A libvirt object's handle, with what it shows without a call to the host."""

    id: str  # the UUID, or the name of what has no UUID
    name: str  # the usage id of a secret
    number: int  # the id of a running domain, else -1
    raw: Any  # libvirt's object


@dataclass(frozen=True, slots=True)
class Events:
    """How libvirt announces what happens to the objects of a kind."""

    # The methods of the connection that register and deregister a callback.
    register: str
    deregister: str
    # libvirt's number of the kind's lifecycle event, and all other events.
    lifecycle_id: int
    others: tuple[EventSpec, ...]
    # The contract's words for the two numbers of a lifecycle event. Any thread.
    words: Callable[[int, int], tuple[str, str]]
    # What a lifecycle event, as words, and the handle that came with it mean for the record.
    outcome: Callable[[Any, str, str, Handle], Outcome]
    # The record's fields when an event is the first that is heard of an object, before that event is applied.
    first_fields: Callable[[Handle], dict[str, Any]] = lambda _handle: {}


@dataclass(frozen=True, slots=True)
class Parent:
    """How the objects of a kind live in objects of another kind (model.keys.PARENT_KIND)."""

    # The flag of the parents' own listing that selects those which may hold any.
    holders: int
    # The parent's record field that says whether it holds any; empty for none.
    holder_field: str = ""
    # The parent handle's method that gives the current object; empty for none.
    current: str = ""
    # Completes the records of one parent once all of them are known.
    finish: Callable[[Records], Records] = lambda records: records
    # Whether a definition can no longer be as it was read, now that the parent holds these ids.
    may_be_outdated: Callable[[Any, Collection[str]], bool] = lambda _definition, _ids: False


@dataclass(frozen=True, slots=True)
class KindRow:
    kind: Kind
    # The method that lists all objects: of the connection, or of the parent's handle.
    list_all: str
    # The id of libvirt's object, without a call. Raises UnicodeError for a name that is not UTF-8.
    id_of: Callable[[Any], str]
    # The method that finds an object by its id: of the connection, or of the parent's handle.
    look_up: str
    # The object's method that gives its XML.
    read_xml: str
    # libvirt's code of a call on an object that does not exist any more.
    not_found_code: int
    # The definition in an object's XML, and the record that holds it.
    parse: Callable[[str], Any]
    record: Callable[..., Any]
    # The record's field for the id; empty when the record does not hold it.
    id_field: str = ""
    # Record field to the listing flag that selects the objects for which it is true.
    flags: Mapping[str, int] = field(default_factory=dict)
    # The fields whose flag selects the objects for which it is false: on most hosts that listing is shorter.
    negated: frozenset[str] = frozenset()
    # The name that libvirt's object shows without a call, where it is not the id.
    name_of: Callable[[Any], str] | None = None
    # The number that libvirt's object shows without a call, and the record's field for it.
    number_of: Callable[[Any], int] | None = None
    number_field: str = ""
    # Whether virConnectGetAllDomainStats() gives state and reason.
    bulk_states: bool = False
    # What neither listing nor XML shows of an object with this definition: record field to the yes-or-no
    # method of the handle, one call each beside the XML.
    getters: Callable[[Any], Mapping[str, str]] = lambda _definition: {}
    # None: libvirt announces nothing, on any driver. Such objects are read on demand (model.keys.ON_DEMAND).
    events: Events | None = None
    # None: the objects stand by themselves.
    parent: Parent | None = None

    def handle_of(self, raw: Any) -> Handle:
        """Any thread. Raises UnicodeError when the id is a name that is not UTF-8."""
        key_id = self.id_of(raw)
        try:
            name = key_id if self.name_of is None else self.name_of(raw)
        except UnicodeDecodeError:  # libvirt-python gives no way to its bytes
            name = key_id
        return Handle(key_id, name, -1 if self.number_of is None else self.number_of(raw), raw)

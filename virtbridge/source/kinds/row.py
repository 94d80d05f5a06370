"""The row of a kind: how libvirt lists, announces, reads and finds its objects.

The code that lists, reads and follows is the same for all kinds, and the rows have the differences. Whether a
driver has a kind and announces its events is only known at run time. Pure.

Source: libvirt's virConnectListAll*() families and event ids.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from virtbridge.model.keys import Kind
from virtbridge.source.kinds.events import EventSpec
from virtbridge.source.kinds.outcomes import Outcome

Records = dict[str, Any]  # the records of one kind in one parent, by id


class Handle(NamedTuple):
    """The handle of a libvirt object, with the values that it has without a call to the host."""

    # The UUID, or the name of an object that has no UUID.
    id: str
    # The name; for a secret its usage id.
    name: str
    # The id of an active domain, else -1.
    number: int
    # libvirt-python's object, such as a virDomain. Its methods are called by name (Session.on).
    raw: object


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
    # What a lifecycle event changes, from the record, the event, its detail and the handle that came with it.
    outcome: Callable[[Any, str, str, Handle], Outcome]
    # The fields of a new record when an event announces a new object, before the event itself is applied.
    first_fields: Callable[[Handle], dict[str, Any]] = lambda _handle: {}


@dataclass(frozen=True, slots=True)
class Parent:
    """How the objects of a kind live in objects of another kind (model.keys.PARENT_KIND)."""

    # The flag of the parents' listing that selects those which may have any.
    holders: int
    # The field of the parent's record that says whether it has any. Empty when there is no such field.
    holder_field: str = ""
    # The method of the parent's handle that gives the current object. Empty when there is none.
    current: str = ""
    # Completes the records of one parent when all of them are known.
    finish: Callable[[Records], Records] = lambda records: records
    # Whether a definition must have changed since it was read, given the ids that the parent has now.
    may_be_outdated: Callable[[Any, Collection[str]], bool] = lambda _definition, _ids: False


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of object. Methods of libvirt-python are named by strings, since the parent may have them."""

    kind: Kind
    # The method of the connection, or of the parent's handle, that lists all objects.
    list_all: str
    # Gives the id of libvirt's object without a call. Raises UnicodeError for a name that is not UTF-8.
    id_of: Callable[[Any], str]
    # The method of the connection, or of the parent's handle, that finds an object by its id.
    look_up: str
    # The object's method that gives its XML.
    read_xml: str
    # libvirt's error code for a call on an object that does not exist any more.
    not_found_code: int
    # Parses the definition from an object's XML.
    parse: Callable[[str], Any]
    # Makes the record with that definition.
    record: Callable[..., Any]
    # The record's field for the id. Empty when the record does not have it.
    id_field: str = ""
    # For a field of the record, the listing flag that selects the objects for which it is true.
    flags: Mapping[str, int] = field(default_factory=dict)
    # The fields whose flag selects the objects for which it is false: on most hosts that listing is shorter.
    negated: frozenset[str] = frozenset()
    # Gives the name of libvirt's object without a call. None when the id is the name.
    name_of: Callable[[Any], str] | None = None
    # Gives the number of libvirt's object without a call, and the record's field for it.
    number_of: Callable[[Any], int] | None = None
    number_field: str = ""
    # Whether virConnectGetAllDomainStats() gives state and reason.
    bulk_states: bool = False
    # What neither the listing nor the XML shows of an object with this definition: for a field of the record,
    # the method of the handle that gives it, true or false. Each costs a call beside that for the XML.
    getters: Callable[[Any], Mapping[str, str]] = lambda _definition: {}
    # None when libvirt has no events for this kind. Such objects are read on demand (model.keys.ON_DEMAND).
    events: Events | None = None
    # None when the objects are not in another object.
    parent: Parent | None = None

    def handle_of(self, raw: Any) -> Handle:
        """Make the handle of libvirt's object. Any thread. Raises UnicodeError if its id is not UTF-8."""
        key_id = self.id_of(raw)
        try:
            name = key_id if self.name_of is None else self.name_of(raw)
        except UnicodeDecodeError:  # libvirt-python does not give the name as bytes
            name = key_id
        return Handle(key_id, name, -1 if self.number_of is None else self.number_of(raw), raw)

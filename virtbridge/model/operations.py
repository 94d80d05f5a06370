"""The table of operations: one row for each thing that a caller can ask libvirt for, and the request for it.

A request is a value that passes through one door of each layer; what it means stands here. The right that it
needs, and its words for people, are in the contract of each API. Objects that are listed are no operations:
they are records, and freshness decides when they are read. Pure.

Source: libvirt's API; the numbers of flags and types are the same in every libvirt.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from virtbridge.model.keys import Key, Kind

# How old an answer may be without max-age: what may change at any moment, and what changes when somebody
# rebuilds the host.
MOVING_MS = 1000
SETTLED_MS = 60_000


@dataclass(frozen=True, slots=True)
class Caller:
    """user: the Unix user. client: the API's name of the caller's connection."""

    user: int
    client: str


@dataclass(frozen=True, slots=True)
class Request:
    """name: of a row of OPERATIONS for this kind. arguments: plain and hashable, in the row's order."""

    key: Key
    name: str
    arguments: tuple[Any, ...]
    caller: Caller


class Form(Enum):
    """What an answer is, so that an API knows how to show it."""

    NOTHING = auto()
    TEXT = auto()
    # A dataclass of the model, or a sequence of them; what is empty is not shown.
    DESCRIPTION = auto()
    DESCRIPTIONS = auto()
    # Names and values of libvirt's own. In sizes no number can be negative.
    REPORT = auto()
    SIZES = auto()


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or option as a caller gives it, and what becomes of it in the request."""

    name: str
    # The D-Bus type in the contract.
    type: str
    # Without it; an argument always has a value.
    default: Any = None
    # The argument of the request, where it has another name. Parameters of one argument are joined by `or`.
    into: str = ""
    # For true, of type b: what is set in the argument.
    bit: int = 0
    # The words that are allowed, with their values in the request; those of `as` are joined by `or`.
    words: Mapping[str, Any] | None = None
    # The values that do not need the right which the contract states for this option; for flags, the bits.
    # None for both where the contract states no right, or a handler decides.
    harmless: tuple[Any, ...] | None = None
    harmless_bits: int | None = None

    @property
    def argument(self) -> str:
        return self.into or self.name


@dataclass(frozen=True, slots=True)
class Operation:
    """One row. The name in words is the member's in the contract: `get-xml` is GetXml, and `set-autostart`
    without a method of that name is the writing of Autostart.
    """

    name: str
    kinds: tuple[Kind, ...]
    form: Form
    # The libvirt-python method of the object, called with the arguments in their order; empty where a
    # function of source/answers.py does more than that.
    call: str = ""
    arguments: tuple[Parameter, ...] = ()
    # Beside timeout and max-age, which follow from the row.
    options: tuple[Parameter, ...] = ()
    # How old the answer may be without max-age: all who ask the same share one call. None: each request is a
    # call of its own, since it changes something or its answer is for its caller only.
    cached_ms: int | None = None
    # Whether libvirt answers at once, without waiting for a guest or a program of the host; of `call` only.
    short: bool = False
    # The record's fields that a success changes, each with the argument that is its new value.
    changes: tuple[tuple[str, str], ...] = ()
    # Asked by the service itself: no API has a member for it.
    internal: bool = False

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Those of the request, in its order."""
        return tuple(dict.fromkeys(each.argument for each in (*self.arguments, *self.options)))

    def changed_fields(self, request: Request) -> dict[str, Any]:
        values = dict(zip(self.argument_names, request.arguments, strict=True))
        return {field: values[argument] for field, argument in self.changes}


def _bit(name: str, bit: int, *harmless: bool) -> Parameter:
    """One of libvirt's flags as an option of its own. harmless: see Parameter."""
    return Parameter(name, "b", default=0, into="flags", bit=bit, harmless=harmless or None)


def _flags(harmless_bits: int) -> Parameter:
    """libvirt's own flags, as an escape hatch."""
    return Parameter("flags", "u", default=0, harmless_bits=harmless_bits)


def _same(*words: str) -> Mapping[str, str]:
    return {word: word for word in words}


_CONNECTION = (Kind.CONNECTION,)
_DOMAIN = (Kind.DOMAIN,)
_NETWORK = (Kind.NETWORK,)

# VIR_DOMAIN_XML_*; VIR_NETWORK_XML_*, VIR_STORAGE_XML_*, VIR_NODE_DEVICE_XML_*, VIR_INTERFACE_XML_*;
# VIR_DOMAIN_SNAPSHOT_XML_*, VIR_DOMAIN_CHECKPOINT_XML_*. Of domains, inactive and update-cpu are all that is
# known to show no password: `migratable` does show them.
_DOMAIN_XML = (_bit("secure", 1, False), _bit("inactive", 2), _bit("migratable", 8, False), _flags(2 | 4))
_INACTIVE_XML = (_bit("inactive", 1), _flags(1))

# virDomainGuestInfoTypes.
_GUEST_INFO = {
    "users": 1,
    "os": 2,
    "timezone": 4,
    "hostname": 8,
    "filesystem": 16,
    "disks": 32,
    "interfaces": 64,
}

_ROWS = (
    Operation("get-capabilities", _CONNECTION, Form.TEXT, "getCapabilities", cached_ms=SETTLED_MS),
    Operation("get-emulators", _CONNECTION, Form.NOTHING, cached_ms=SETTLED_MS, internal=True),
    Operation(
        "get-domain-capabilities",
        _CONNECTION,
        Form.TEXT,
        options=tuple(Parameter(name, "s", default="") for name in ("emulator", "arch", "machine", "type")),
        cached_ms=SETTLED_MS,
    ),
    Operation("get-sysinfo", _CONNECTION, Form.TEXT, "getSysinfo", cached_ms=SETTLED_MS),
    Operation("get-node-info", _CONNECTION, Form.DESCRIPTION, cached_ms=SETTLED_MS),
    Operation("get-node-stats", _CONNECTION, Form.SIZES, cached_ms=MOVING_MS),
    Operation("get-dhcp-leases", _NETWORK, Form.DESCRIPTIONS, cached_ms=MOVING_MS),
    Operation("list-ports", _NETWORK, Form.DESCRIPTIONS, cached_ms=MOVING_MS),
    Operation(
        "get-interface-addresses",
        _DOMAIN,
        Form.DESCRIPTIONS,
        options=(
            Parameter(
                "source",
                "s",
                default="lease",
                words=_same("lease", "agent", "arp"),
                harmless=("lease", "arp"),
            ),
        ),
        cached_ms=MOVING_MS,
    ),
    Operation(
        "get-guest-info",
        _DOMAIN,
        Form.REPORT,
        "guestInfo",
        options=(Parameter("types", "as", default=0, words=_GUEST_INFO),),
        cached_ms=MOVING_MS,
    ),
    Operation(
        "get-job-info",
        _DOMAIN,
        Form.REPORT,
        options=(Parameter("completed", "b", default=False),),
        cached_ms=MOVING_MS,
    ),
    Operation("get-xml", _DOMAIN, Form.TEXT, "XMLDesc", options=_DOMAIN_XML, short=True),
    Operation(
        "get-xml",
        (Kind.NETWORK, Kind.POOL, Kind.NODEDEV),
        Form.TEXT,
        "XMLDesc",
        options=_INACTIVE_XML,
        short=True,
    ),
    Operation("get-xml", (Kind.INTERFACE,), Form.TEXT, "XMLDesc", options=(_bit("inactive", 1),), short=True),
    Operation(
        "get-xml",
        (Kind.SNAPSHOT, Kind.CHECKPOINT),
        Form.TEXT,
        "getXMLDesc",
        options=(_bit("secure", 1, False),),
        short=True,
    ),
    # Without flags: of secrets, nobody knows yet what those of a newer libvirt may show.
    Operation(
        "get-xml",
        (Kind.SECRET, Kind.VOLUME, Kind.NWFILTER, Kind.NWFILTERBINDING),
        Form.TEXT,
        "XMLDesc",
        short=True,
    ),
    Operation(
        "set-autostart",
        (Kind.DOMAIN, Kind.NETWORK, Kind.POOL, Kind.NODEDEV),
        Form.NOTHING,
        "setAutostart",
        arguments=(Parameter("value", "b"),),
        changes=(("autostart", "value"),),
    ),
)


def _by_kind(rows: Iterable[Operation]) -> Mapping[Kind, Mapping[str, Operation]]:
    table: dict[Kind, dict[str, Operation]] = {kind: {} for kind in Kind}
    for row in rows:
        for kind in row.kinds:
            if row.name in table[kind]:
                raise ValueError(f"{kind} has two rows named {row.name}")
            table[kind][row.name] = row
    return table


OPERATIONS = _by_kind(_ROWS)


def operation_of(request: Request) -> Operation:
    return OPERATIONS[request.key.kind][request.name]

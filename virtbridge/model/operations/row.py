"""What a row of the table of operations has, and the request for one.

A request is a value that passes through one door of each layer; what it means stands in its row. The right
that it needs, and its words for people, are in the contract of each API. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from virtbridge.model.jobs import Course
from virtbridge.model.keys import Key, Kind

# How old an answer may be without max-age: what may change at any moment, and what changes when somebody
# rebuilds the host.
MOVING_MS = 1000
SETTLED_MS = 60_000

# How long a text, or how many entries of a list, a caller may give where the row does not say more. libvirt's
# protocol takes texts up to 4 MiB, which only definitions need.
TEXT_LIMIT = 4096
LIST_LIMIT = 256
XML_LIMIT = (4 << 20) - 1


@dataclass(frozen=True, slots=True)
class Caller:
    """user: the Unix user. client: the API's name of the caller's connection."""

    user: int
    client: str


@dataclass(frozen=True, slots=True)
class Request:
    """name: of a row of OPERATIONS for this kind. arguments: plain, in the row's order, and hashable where
    the row is cached.
    """

    key: Key
    name: str
    arguments: tuple[Any, ...]
    caller: Caller


def unchanged(answer: Any) -> Any:
    return answer


class Form(Enum):
    """What an answer is, so that an API knows how to show it."""

    NOTHING = auto()
    TEXT = auto()
    TEXTS = auto()
    NUMBER = auto()
    NUMBERS = auto()
    BYTES = auto()
    # A Key: the object that was made, or the job that makes it.
    OBJECT = auto()
    # A dataclass of the model, or a sequence of them; what is empty is not shown.
    DESCRIPTION = auto()
    DESCRIPTIONS = auto()
    # Names and values of libvirt's own, or a sequence of such. In sizes no number can be negative.
    REPORT = auto()
    REPORTS = auto()
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
    # libvirt's value for what the caller gave. Raises ValueError, saying what is wrong with it.
    made: Callable[[Any], Any] | None = None
    # Whether it is the URI of a hypervisor, which must not make libvirt run programs of the caller's.
    is_uri: bool = False
    # For type o: the kind of the object, which is of the same connection.
    kind: Kind | None = None
    # The most characters, bytes or entries, or the largest number; 0 where the type's own limit is enough.
    limit: int = 0
    # The values that do not need the right which the contract states for this option; for flags, the bits.
    # None for both where the contract states no right, or a handler decides.
    harmless: tuple[Any, ...] | None = None
    harmless_bits: int | None = None

    @property
    def argument(self) -> str:
        return self.into or self.name

    @property
    def most(self) -> int:
        """Return the most characters, bytes or entries."""
        return self.limit or (TEXT_LIMIT if self.type in ("s", "ay") else LIST_LIMIT)


@dataclass(frozen=True, slots=True)
class Operation:
    """One row. The name in words is the member's in the contract: `get-xml` is GetXml, and `set-autostart`
    without a method of that name is the writing of Autostart.
    """

    name: str
    kinds: tuple[Kind, ...]
    form: Form
    # The libvirt-python method of the object, called with the arguments in their order; empty where a
    # function of the source does more than that.
    call: str = ""
    arguments: tuple[Parameter, ...] = ()
    # Beside timeout and max-age, which follow from the row.
    options: tuple[Parameter, ...] = ()
    # What libvirt's access control asks for, as its remote protocol states it: a permission that depends on a
    # flag has the flag behind it.
    permissions: tuple[str, ...] = ()
    # The arguments in the order of libvirt's method, where theirs is another.
    order: tuple[str, ...] = ()
    # What libvirt answered, in the contract's units and words; in a worker.
    answer: Callable[[Any], Any] = unchanged
    # How old the answer may be without max-age: all who ask the same share one call. None: each request is a
    # call of its own, since it changes something or its answer is for its caller only.
    cached_ms: int | None = None
    # Whether libvirt answers at once, without waiting for a guest or a program of the host; of `call` only.
    short: bool = False

    # What a success changes, so that it is known before the reply.

    # The record's fields, each with the argument that is its new value.
    changes: tuple[tuple[str, str], ...] = ()
    # The lifecycle events of libvirt that show it, of which one comes.
    events: tuple[str, ...] = ()
    # The methods of the object that tell it: those of source/kinds/outcomes.py.
    asks: tuple[str, ...] = ()
    # What is read again: the object itself by its own kind, its parent, or its children of a kind.
    rereads: tuple[Kind, ...] = ()
    # The kinds whose states are listed again, since no one event tells what became of an object.
    lists: tuple[Kind, ...] = ()
    # The kind of the object that libvirt's method returns.
    makes: Kind | None = None
    # Asked by the service itself: no API has a member for it.
    internal: bool = False

    # Of what takes long: what libvirt does meanwhile, and the kind of job in the contract's word. The answer
    # is then the job, and makes says what the job makes.
    course: Course | None = None
    job: str = ""

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Return the names of the request's arguments, in its order."""
        return tuple(dict.fromkeys(each.argument for each in (*self.arguments, *self.options)))

    @property
    def is_job(self) -> bool:
        return self.course is not None

    @property
    def is_reading(self) -> bool:
        """Return whether it changes nothing, as far as libvirt shows it to others."""
        return (
            self.cached_ms is not None
            or self.name.startswith(("get-", "list-"))
            or (bool(self.permissions) and all(each.endswith(":read") for each in self.permissions))
        )

    def in_call_order(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """A request's arguments as libvirt's method takes them."""
        if not self.order:
            return arguments
        values = dict(zip(self.argument_names, arguments, strict=True))
        return tuple(values[name] for name in self.order)

    def changed_fields(self, request: Request) -> dict[str, Any]:
        values = dict(zip(self.argument_names, request.arguments, strict=True))
        return {field: values[argument] for field, argument in self.changes}

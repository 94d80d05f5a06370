"""The way from a call to a request, and from libvirt's answer to the reply: by the operation's row alone.

A member whose row says all has no other handler. A handler with logic of its own passes through the same
door. Main thread.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from virtbridge.bus.audit import audited
from virtbridge.bus.call import Call
from virtbridge.bus.contract import Method, Property
from virtbridge.bus.guards import Harmless, no_flags_but, one_of
from virtbridge.bus.options import check_words, max_age_s, timeout_s, within
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.values import dictionaries, dictionary, figures, sizes
from virtbridge.cache.requests import Requests
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key
from virtbridge.model.operations import OPERATIONS, Caller, Form, Operation, Parameter, Request
from virtbridge.uri_checks import client_uri_problem

# What the caller waits for, whatever the operation.
_COMMON = {"timeout": "t", "max-age": "t"}

_SHOWN: Mapping[Form, Callable[[Any], Any]] = {
    Form.NOTHING: lambda _answer: None,
    Form.TEXT: str,
    Form.DESCRIPTION: dictionary,
    Form.DESCRIPTIONS: dictionaries,
    Form.TEXTS: list,
    Form.NUMBER: int,
    Form.NUMBERS: list,
    Form.BYTES: bytes,
    Form.REPORT: figures,
    Form.REPORTS: lambda reports: [figures(each) for each in reports],
    Form.SIZES: sizes,
}
_SIGNATURES = {
    Form.NOTHING: "",
    Form.TEXT: "s",
    Form.DESCRIPTION: "a{sv}",
    Form.DESCRIPTIONS: "aa{sv}",
    Form.TEXTS: "as",
    Form.NUMBER: "t",
    Form.NUMBERS: "au",
    Form.BYTES: "ay",
    Form.OBJECT: "o",
    Form.REPORT: "a{sv}",
    Form.REPORTS: "aa{sv}",
    Form.SIZES: "a{sv}",
}


class Operations:
    """Makes requests for calls."""

    def __init__(self, requests: Requests, publisher: Publisher) -> None:
        self._requests = requests
        self._publisher = publisher

    async def ask(self, call: Call, name: str, max_age_s: float) -> Any:
        """libvirt's own answer to an operation without arguments, as no reply needs it."""
        return await self._requests.operate(Request(call.key, name, (), _caller(call)), max_age_s)

    async def run(
        self, call: Call, row: Operation, values: Sequence[Any], options: Mapping[str, Any] | None
    ) -> Any:
        """The reply. options: None for the writing of a property, which has no deadline of its own. Raises
        BridgeError. What the operation changed has been announced before it returns.
        """
        values = [
            value if each.kind is None else self._found(call.key, each, value)
            for each, value in zip(row.arguments, values, strict=True)
        ]
        arguments = request_arguments(row, values, options or {})
        request = Request(call.key, row.name, arguments, _caller(call))
        age_s = max_age_s(options or {}, row.cached_ms or 0)
        work = partial(self._requests.operate, request, age_s)
        with nullcontext() if row.is_reading else audited(call, row.name):
            answer = await (work() if options is None else within(timeout_s(options), work))
            if not row.is_reading:
                await self._publisher.until_announced()
        if row.form is Form.OBJECT:
            return self._publisher.path_of(answer)
        return _SHOWN[row.form](answer)

    def _found(self, called: Key, parameter: Parameter, path: str) -> Key:
        """Return the object that an argument names. Raises NoSuchObject and InvalidArgument."""
        known = self._publisher.by_path.get(path)
        if known is None:
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"there is no object at {path}")
        if (known.key.connection, known.key.kind) != (called.connection, parameter.kind):
            text = f"{parameter.name}: {path} is no {parameter.kind} of this connection"
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, text)
        return known.key

    def handlers(self, rows: Mapping[str, Operation]) -> Mapping[str, "RowHandler"]:
        """rows: by member."""
        return {member: RowHandler(self, row) for member, row in rows.items()}


@dataclass(frozen=True, slots=True)
class RowHandler:
    """What answers a member by its row."""

    operations: Operations
    row: Operation

    async def __call__(self, call: Call, *values: Any) -> Any:
        count = len(self.row.arguments)
        options = values[count] if len(values) > count else None
        return await self.operations.run(call, self.row, values[:count], options)

    @property
    def harmless_options(self) -> Mapping[str, Harmless]:
        """The options that need a right of their own, as those of a handler, see guards.py."""
        harmless: dict[str, Harmless] = {}
        for each in self.row.options:
            if each.harmless is not None:
                harmless[each.name] = one_of(*each.harmless)
            if each.harmless_bits is not None:
                harmless[each.name] = no_flags_but(each.harmless_bits)
        return harmless

    def differences(self, member: Method | Property) -> list[str]:
        """Where the contract and the row say different things."""
        signature = "".join(each.type for each in self.row.arguments)
        if isinstance(member, Property):
            return _unequal("type", member.signature, signature)
        options = dict(member.options or {})
        timeless = {name: type_ for name, type_ in options.items() if name not in _COMMON}
        return [
            *_unequal("arguments", member.in_signature, f"{signature}a{{sv}}"),
            *_unequal("reply", member.out_signature, _SIGNATURES[self.row.form]),
            *_unequal("options", timeless, {each.name: each.type for each in self.row.options}),
            *_unequal("max-age", "max-age" in options, self.row.cached_ms is not None),
        ]


def row_of(call: Call, name: str) -> Operation:
    """The row of this name for the object that is called."""
    return OPERATIONS[call.key.kind][name]


def request_arguments(row: Operation, values: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, ...]:
    """In the row's order; several parameters of one argument are joined. Raises InvalidArgument."""
    made: dict[str, Any] = {}
    given = dict(zip((each.name for each in row.arguments), values, strict=True)) | dict(options)
    for each in (*row.arguments, *row.options):
        value = _value(each, given[each.name]) if each.name in given else each.default
        made[each.argument] = made[each.argument] | value if each.argument in made else value
    return tuple(made.values())


def _value(parameter: Parameter, given: Any) -> Any:
    """What the caller gave, in the request. Raises InvalidArgument and LimitExceeded."""
    _check_size(parameter, given)
    if isinstance(given, str) and "\0" in given:
        raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"{parameter.name} has a NUL in it")
    if parameter.is_uri and (problem := client_uri_problem(given)):
        raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"{parameter.name}: {problem}")
    if parameter.made is not None:
        try:
            return parameter.made(given)
        except ValueError as error:
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"{parameter.name}: {error}") from None
    if parameter.words is None:
        return parameter.bit * given if parameter.bit else given
    if parameter.type == "as":
        check_words(given, parameter.words, parameter.name)
        return sum({parameter.words[word] for word in given})
    check_words([given], parameter.words, f"{parameter.name}s")
    return parameter.words[given]


def _check_size(parameter: Parameter, given: Any) -> None:
    """Raises LimitExceeded."""
    if isinstance(given, Key):
        return
    if isinstance(given, int):
        if parameter.limit and given > parameter.limit:
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"{parameter.name} may be {parameter.limit} at most")
    elif len(given) > parameter.most:
        text = f"{parameter.name} may have {parameter.most} characters or entries"
        raise BridgeError(ErrorKind.LIMIT_EXCEEDED, text)


def _caller(call: Call) -> Caller:
    return Caller(call.user, call.sender)


def _unequal(what: str, stated: Any, of_row: Any) -> list[str]:
    return [] if stated == of_row else [f"{what}: {stated!r} in the contract, {of_row!r} in the row"]

"""Binding: when the daemon starts, each member of the contract is bound to its handler or to an operation's
row.

A handler object serves one interface: `GetXml` is its method get_xml(call, *arguments), writing the property
`Autostart` its method set_autostart(call, value). Where it has no such method, a row of that name answers
(`SetAutostart` for the writing). A member without either, a method or row without a member, a row that says
something else than the contract, or an option whose right only one of the two knows, stops the start.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from virtbridge.bus.access import Needed
from virtbridge.bus.contract import BadContract, Interface, Method, Property
from virtbridge.bus.guards import Guard, guards_of, needed_for
from virtbridge.bus.operations import RowHandler
from virtbridge.bus.rights import READ

Handler = Callable[..., Any]
_NO_ROWS: Mapping[str, RowHandler] = {}


@dataclass(frozen=True, slots=True)
class Route:
    """guards: the checks for options that need a right of their own, by option. needed_for: returns which
    right a call with its arguments needs, where that is not the method's own. only_reads: whether the method
    needs no right, whatever its arguments are.
    """

    method: Method
    handler: Handler
    guards: Mapping[str, Guard]
    needed_for: Callable[..., Needed] | None
    only_reads: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """One interface with what serves it. setters: by the name of the property."""

    interface: Interface
    methods: Mapping[str, Route]
    setters: Mapping[str, tuple[Property, Handler]]


def bind(interface: Interface, handlers: object, rows: Mapping[str, RowHandler] = _NO_ROWS) -> Bound:
    """Bind an interface. rows: the operations by member. Raises BadContract, naming what is missing, left
    over or different.
    """
    methods = {name: _route(interface, handlers, rows, method) for name, method in interface.methods.items()}
    setters = {
        name: (prop, _handler(interface, handlers, rows, f"Set{name}"))
        for name, prop in interface.properties.items()
        if prop.access
    }
    unstated = [name for name, route in methods.items() if route.method.access is None]
    members: dict[str, Method | Property] = {f"Set{name}": prop for name, (prop, _) in setters.items()}
    members |= {name: route.method for name, route in methods.items()}
    left_over = _public(handlers) - set(map(_snake, members)) | rows.keys() - members.keys()
    if unstated or left_over:
        raise BadContract(
            f"{interface.name}: without a stated access {unstated}, not in the contract {left_over}"
        )
    for name, row in rows.items():
        if differences := row.differences(members[name]):
            raise BadContract(f"{interface.name}.{name}: {'; '.join(differences)}")
    return Bound(interface, methods, setters)


def _route(interface: Interface, handlers: object, rows: Mapping[str, RowHandler], method: Method) -> Route:
    handler = _handler(interface, handlers, rows, method.name)
    row = rows.get(method.name)
    try:
        guards = guards_of(method, handlers, handler, row.harmless_options if row else {})
        find = needed_for(handlers, handler)
        only_reads = method.access == READ and find is None and not guards
        return Route(method, handler, guards, find, only_reads)
    except BadContract as error:
        raise BadContract(f"{interface.name}.{error}") from error


def _handler(interface: Interface, handlers: object, rows: Mapping[str, RowHandler], member: str) -> Handler:
    handler = getattr(handlers, _snake(member), None) or rows.get(member)
    if not callable(handler):
        raise BadContract(f"{interface.name}.{member} has no handler")
    found: Handler = handler
    return found


def _public(handlers: object) -> set[str]:
    return {name for name in dir(type(handlers)) if not name.startswith("_")}


def _snake(member: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", member).lower()

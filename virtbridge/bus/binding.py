"""Binding: each method of the contract to its handler, by name, when the daemon starts.

A handler object serves one interface: `GetXml` is its method get_xml(call, *arguments), writing the
property `Autostart` its method set_autostart(call, value). A member without a handler, a public method
without a member, or an option whose right only one of the two knows, stops the start.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from virtbridge.bus.contract import BadContract, Interface, Method, Property
from virtbridge.bus.guards import Guard, guards_of

Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Route:
    """guards: of the options that need a right of their own, by option."""

    method: Method
    handler: Handler
    guards: Mapping[str, Guard]


@dataclass(frozen=True, slots=True)
class Bound:
    """One interface with what serves it. setters: by the name of the property."""

    interface: Interface
    methods: Mapping[str, Route]
    setters: Mapping[str, tuple[Property, Handler]]


def bind(interface: Interface, handlers: object) -> Bound:
    """Raises BadContract, naming what is missing or left over."""
    methods = {name: _route(interface, handlers, method) for name, method in interface.methods.items()}
    setters = {
        name: (prop, _handler(interface, handlers, f"Set{name}"))
        for name, prop in interface.properties.items()
        if prop.access
    }
    unstated = [name for name, route in methods.items() if route.method.access is None]
    left_over = (
        _public(handlers) - {_snake(name) for name in methods} - {f"set_{_snake(name)}" for name in setters}
    )
    if unstated or left_over:
        raise BadContract(
            f"{interface.name}: without a stated access {unstated}, not in the contract {left_over}"
        )
    return Bound(interface, methods, setters)


def _route(interface: Interface, handlers: object, method: Method) -> Route:
    handler = _handler(interface, handlers, method.name)
    try:
        return Route(method, handler, guards_of(method, handlers, handler))
    except BadContract as error:
        raise BadContract(f"{interface.name}.{error}") from error


def _handler(interface: Interface, handlers: object, member: str) -> Handler:
    handler = getattr(handlers, _snake(member), None)
    if not callable(handler):
        raise BadContract(f"{interface.name}.{member} has no handler")
    found: Handler = handler
    return found


def _public(handlers: object) -> set[str]:
    return {name for name in dir(type(handlers)) if not name.startswith("_")}


def _snake(member: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", member).lower()

"""The standard interfaces that every object has, and the root's ObjectManager. They answer from marshalled
entries.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from virtbridge.bus import marshalling, rows
from virtbridge.bus.access import Needed
from virtbridge.bus.binding import Bound, Handler
from virtbridge.bus.call import Call, Fault, Marshalled, Refused
from virtbridge.bus.contract import Property
from virtbridge.bus.guards import needs
from virtbridge.bus.published_object import PublishedObject
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.rows import Rows

_MACHINE_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '  "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)


class PeerHandlers:
    """Serves org.freedesktop.DBus.Peer, on every path."""

    def ping(self, call: Call) -> None:
        pass

    def get_machine_id(self, call: Call) -> str:
        for file in _MACHINE_ID_FILES:
            try:
                return Path(file).read_text("ascii").strip()
            except FileNotFoundError:
                continue
        raise Refused(Fault.FAILED, "this machine has no machine id")


class IntrospectableHandlers:
    """objects: interface XML by an object's main interface. node: of a path that only leads to objects."""

    def __init__(self, publisher: Publisher, objects: Mapping[str, str], node: str) -> None:
        self._publisher = publisher
        self._objects = objects
        self._node = node

    def introspect(self, call: Call) -> str:
        interfaces = self._objects[call.target.properties.interface] if call.target else self._node
        children = "".join(
            f'  <node name="{name}"/>\n' for name in self._publisher.tree.children(call.path) or ()
        )
        return f"{_DOCTYPE}<node>\n{interfaces}{children}</node>\n"


class PropertiesHandlers:
    """bound: our interfaces, by name. extra: those of an object without properties, by its main interface."""

    def __init__(self, bound: Mapping[str, Bound], extra: Mapping[str, Sequence[str]]) -> None:
        self._bound = bound
        self._extra = extra

    def get(self, call: Call, interface: str, name: str) -> Marshalled:
        target = call.object
        self._check(call, interface)
        properties = target.properties
        index = properties.indexes.get(name)
        if index is None or interface not in ("", properties.interface):
            raise Refused(Fault.UNKNOWN_PROPERTY, f"{interface or call.path} has no property {name}")
        return Marshalled(marshalling.variant_body(properties.signatures[index], target.values[index]))

    def get_all(self, call: Call, interface: str) -> Marshalled:
        """Return the properties of an interface. An empty interface name means all interfaces, as in other
        services.
        """
        self._check(call, interface)
        has_properties = interface in ("", call.object.properties.interface)
        return Marshalled(marshalling.array_body(call.object.entries if has_properties else ()))

    def _needed_to_set(self, call: Call, interface: str, name: str, _value: Any) -> Needed:
        prop, _handler = self._setter(call, interface, name)
        return Needed(prop.access or "", operation=f"Set{name}")

    @needs(_needed_to_set)
    async def set(self, call: Call, interface: str, name: str, value: Any) -> None:
        prop, handler = self._setter(call, interface, name)
        if value.signature != prop.signature:
            raise Refused(Fault.INVALID_ARGS, f"{name} is of type {prop.signature}, not {value.signature}")
        await handler(call, value.value)

    def _setter(self, call: Call, interface: str, name: str) -> tuple[Property, Handler]:
        """Refuses what cannot be written."""
        self._check(call, interface)
        properties = call.object.properties
        if name not in properties.indexes or interface not in ("", properties.interface):
            raise Refused(Fault.UNKNOWN_PROPERTY, f"{interface or call.path} has no property {name}")
        setter = self._bound[properties.interface].setters.get(name)
        if setter is None:
            raise Refused(Fault.PROPERTY_READ_ONLY, f"{properties.interface}.{name} cannot be written")
        return setter

    def _check(self, call: Call, interface: str) -> None:
        properties = call.object.properties
        if interface not in ("", properties.interface) and interface not in self._extra[properties.interface]:
            raise Refused(Fault.UNKNOWN_INTERFACE, f"{call.path} has no interface {interface}")


class ObjectManagerHandlers:
    """Serves org.freedesktop.DBus.ObjectManager, on the root object."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def get_managed_objects(self, call: Call) -> Rows[PublishedObject]:
        return rows.Kept(self._publisher.managed)

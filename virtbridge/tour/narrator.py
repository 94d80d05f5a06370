"""The narrator prints, line by line, what a client hears from the service.

It is a D-Bus client like any other: it knows what GetManagedObjects and the signals say, and nothing else.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from virtbridge.bus.names import NAME
from virtbridge.bus.paths import ROOT
from virtbridge.wire import transport
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import BusError, Link
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.names import OBJECT_MANAGER, PROPERTIES


class Narrator:
    """say: gets one line, without its end, for everything that is heard."""

    def __init__(self, link: Link, say: Callable[[str], None]) -> None:
        self._link = link
        self._say = say
        self._labels: dict[str, str] = {}
        # The signals that came before the objects were read; None afterwards.
        self._pending: list[Incoming] | None = []
        # By interface, since libvirt's own event may be named like anything.
        self._reporters: Mapping[str, Callable[[str, str, list[Any]], None]] = {
            PROPERTIES: self._properties_changed,
            OBJECT_MANAGER: self._objects_changed,
        }

    @classmethod
    async def start(cls, address: str, say: Callable[[str], None]) -> "Narrator":
        """Listen first and read then, so that nothing is missed between the two. Signals that come meanwhile
        are printed with the names that were read. Raises BusError when the service does not answer.
        """
        narrator = cls(await Link.connect(address), say)
        try:
            await narrator._link.subscribe(MatchRule(sender=NAME), narrator._on_signal)
            (objects,) = await narrator._link.call(NAME, ROOT, OBJECT_MANAGER, "GetManagedObjects")
        except BusError:
            narrator.close()
            raise
        for path, interfaces in objects.items():
            narrator._learn(path, transport.plain(interfaces))
        pending, narrator._pending = narrator._pending or [], None
        for signal in pending:
            narrator._on_signal(signal)
        return narrator

    def close(self) -> None:
        self._link.close()

    def _on_signal(self, signal: Incoming) -> None:
        if self._pending is not None:
            self._pending.append(signal)
            return
        values = transport.plain(transport.arguments(signal))
        self._reporters.get(signal.interface, self._event)(signal.path, signal.member, values)

    def _properties_changed(self, path: str, _member: str, values: list[Any]) -> None:
        interface, changed, _invalidated = values
        self._learn(path, {interface: changed})
        self._report(path, ", ".join(f"{name} = {_short(value)}" for name, value in changed.items()))

    def _objects_changed(self, _path: str, member: str, values: list[Any]) -> None:
        path, interfaces = values
        if member == "InterfacesAdded":
            self._learn(path, interfaces)
            self._report(path, "appears")
        else:
            self._report(path, "goes away")
            self._labels.pop(path, None)

    def _event(self, path: str, member: str, values: list[Any]) -> None:
        self._report(path, f"{member} {' '.join(map(_short, values))}")

    def _learn(self, path: str, interfaces: Mapping[str, Mapping[str, Any]]) -> None:
        for interface, properties in interfaces.items():
            if name := properties.get("Name"):
                self._labels[path] = f"{interface.rpartition('.')[2]} {name}"

    def _report(self, path: str, what: str) -> None:
        self._say(f"{time.strftime('%H:%M:%S')}  {self._labels.get(path, path):<18} {what}")


def _short(value: Any) -> str:
    """Show one value on one line: the lists of a new definition would fill the screen."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    return f"({len(value)})"

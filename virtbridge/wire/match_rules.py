"""Match rules: which signals the bus sends to a connection, and which of these a listener has asked for.

Pure. The bus sends a signal once, whichever of a connection's rules it fits, so the connection sorts again.
Source: https://dbus.freedesktop.org/doc/dbus-specification.html#message-bus-routing-match-rules
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from virtbridge.wire import transport
from virtbridge.wire.framing import Incoming


@dataclass(frozen=True, slots=True)
class MatchRule:
    """An empty field fits everything.

    path: fits this object only. path_namespace: fits this object and all below it.
    args: the values of arguments that are strings or object paths, by their index from 0.
    """

    sender: str = ""
    path: str = ""
    path_namespace: str = ""
    interface: str = ""
    member: str = ""
    args: Mapping[int, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The rule as AddMatch takes it. Values that come from outside are quoted."""
        keys = ("sender", "path", "path_namespace", "interface", "member")
        pairs = [("type", "signal"), *((key, getattr(self, key)) for key in keys if getattr(self, key))]
        pairs += [(f"arg{index}", value) for index, value in self.args.items()]
        return ",".join(f"{key}={_quoted(value)}" for key, value in pairs)

    def fits(self, signal: Incoming, owner: str) -> bool:
        """owner: the unique name behind `sender`, or "" while nobody has it."""
        return (
            (not self.sender or signal.sender in (self.sender, owner))
            and (not self.path or signal.path == self.path)
            and (not self.path_namespace or _below(signal.path, self.path_namespace))
            and (not self.interface or signal.interface == self.interface)
            and (not self.member or signal.member == self.member)
            and (not self.args or self._fits_args(signal))
        )

    def _fits_args(self, signal: Incoming) -> bool:
        try:
            values = transport.arguments(signal)
        except transport.BadBody:
            return False
        return all(
            index < len(values) and isinstance(values[index], str) and values[index] == value
            for index, value in self.args.items()
        )


def _below(path: str, namespace: str) -> bool:
    return path == namespace or namespace == "/" or path.startswith(f"{namespace}/")


def _quoted(value: str) -> str:
    # Inside quotes a backslash is itself, and an apostrophe can only stand outside of them.
    return "'" + value.replace("'", "'\\''") + "'"

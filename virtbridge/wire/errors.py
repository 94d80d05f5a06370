"""What can go wrong on a D-Bus connection, and the error names of what the connection refuses by itself."""

from dataclasses import dataclass

from virtbridge.wire.names import FAILED, LIMITS_EXCEEDED, NOT_SUPPORTED


class BusError(Exception):
    """A call of ours got an error as its reply. name is the D-Bus error name, text is for people."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class LinkLost(ConnectionError):
    """The bus has gone away. The process ends with it, and systemd starts it again."""


@dataclass(frozen=True, slots=True)
class ErrorNames:
    """The D-Bus error names for calls that the link refuses by itself. An API may have names of its own."""

    failed: str = FAILED
    limit_exceeded: str = LIMITS_EXCEEDED
    not_supported: str = NOT_SUPPORTED

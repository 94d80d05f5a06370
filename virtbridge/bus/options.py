"""Options: the a{sv} that ends every method. An option that the contract does not name is an error, not
ignored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from virtbridge.errors import BridgeError, ErrorKind

T = TypeVar("T")

TIMEOUT_MS = 30_000  # without timeout
TIMEOUT_MAX_MS = 600_000

# The contract's types of options, as plain values. Any integer type serves for u and t, as scripts send
# what they can.
_CHECKS = {
    "s": lambda value: isinstance(value, str),
    "b": lambda value: isinstance(value, bool),
    "o": lambda value: isinstance(value, str),
    "i": lambda value: type(value) is int and -(1 << 31) <= value < 1 << 31,
    "u": lambda value: type(value) is int and 0 <= value < 1 << 32,
    "as": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "a{ss}": lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
    "t": lambda value: type(value) is int and 0 <= value < 1 << 64,
}


def checked(options: Mapping[str, Any], known: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the options, when each is known and has its type. known: name to one of _CHECKS.
    Raises InvalidArgument.
    """
    for name, value in options.items():
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise BridgeError(
                ErrorKind.INVALID_ARGUMENT, f"unknown option {name!r}; this method knows: {names}"
            )
        if not _CHECKS[known[name]](value):
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"option {name!r} must be of type {known[name]}")
    return options


def check_words(words: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises InvalidArgument, naming what the words should be, when one is none of the known ones."""
    known = list(known)
    for word in words:
        if word not in known:
            raise BridgeError(
                ErrorKind.INVALID_ARGUMENT, f"{word!r} is not one of the {what} {', '.join(known)}"
            )


def timeout_s(
    options: Mapping[str, Any], default_ms: int = TIMEOUT_MS, limit_ms: int = TIMEOUT_MAX_MS
) -> float:
    """The option `timeout`, given in milliseconds, in seconds."""
    timeout_ms: int = options.get("timeout", default_ms)
    return min(timeout_ms, limit_ms) / 1000


async def within(seconds: float, work: Callable[[], Awaitable[T]]) -> T:
    """Await the answer for so long at most. Raises Timeout."""
    try:
        async with asyncio.timeout(seconds):
            return await work()
    except TimeoutError:
        raise BridgeError(ErrorKind.TIMEOUT, f"libvirt did not answer within {seconds:g} s") from None


def max_age_s(options: Mapping[str, Any], default_ms: float) -> float:
    """The option `max-age`, given in milliseconds, in seconds."""
    age_ms: float = options.get("max-age", default_ms)
    return age_ms / 1000

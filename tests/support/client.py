"""A small D-Bus client for tests, over a real bus and a real D-Bus library; values are plain.

It knows nothing of virtbridge's code: what it shows is what any client would see. Everything that waits has
a bound. For messages that no library would build, see rawbus.py.
"""

import asyncio
import importlib
import importlib.util
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

SERVICE = "org.virtbridge1"
ROOT = "/org/virtbridge1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
LIBRARIES = ("dbus_fast", "dbus_next")


def installed_libraries() -> list[str]:
    return [name for name in LIBRARIES if importlib.util.find_spec(name)]


class CallFailed(Exception):
    """An error reply: `name` for matching, `text` for people."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


@dataclass(frozen=True, slots=True)
class Signal:
    path: str
    interface: str
    member: str
    args: tuple[Any, ...]
    sender: str


class Signals:
    """What arrived and was asked for, in order."""

    def __init__(self, wanted: Callable[[Signal], bool]) -> None:
        self._wanted = wanted
        self._queue: deque[Signal] = deque()
        self._arrived = asyncio.Event()

    def offer(self, signal: Signal) -> None:
        if self._wanted(signal):
            self._queue.append(signal)
            self._arrived.set()

    async def next(self, timeout_s: float = 5) -> Signal:
        """Raises TimeoutError when none comes."""
        async with asyncio.timeout(timeout_s):
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
        return self._queue.popleft()

    async def until(self, predicate: Callable[[Signal], bool], timeout_s: float = 5) -> Signal:
        """The first that fits; those before it are thrown away."""
        deadline = time.monotonic() + timeout_s
        while True:
            signal = await self.next(max(0.0, deadline - time.monotonic()))
            if predicate(signal):
                return signal

    def drain(self) -> list[Signal]:
        """All that arrived so far."""
        found = list(self._queue)
        self._queue.clear()
        return found


class Client:
    """A connection to a bus. Handlers in `on_message` see every message of the library, in order."""

    def __init__(self, bus: Any, module: Any) -> None:
        self.bus = bus
        self.module = module
        self.Variant = module.Variant
        self.on_message: list[Callable[[Any], None]] = []
        self._queues: list[Signals] = []
        bus.add_message_handler(self._handle)

    @classmethod
    async def connect(cls, address: str, library: str | None = None) -> "Client":
        library = library or installed_libraries()[0]
        aio = importlib.import_module(f"{library}.aio")
        bus = await aio.MessageBus(bus_address=address).connect()
        return cls(bus, importlib.import_module(library))

    @property
    def unique_name(self) -> str:
        return str(self.bus.unique_name)

    def _handle(self, message: Any) -> None:
        for handler in self.on_message:
            handler(message)
        if message.message_type == self.module.MessageType.SIGNAL and self._queues:
            args = tuple(plain(value) for value in message.body)
            signal = Signal(message.path, message.interface, message.member, args, message.sender)
            for queue in self._queues:
                queue.offer(signal)

    def message(
        self,
        path: str,
        interface: str | None,
        member: str,
        signature: str = "",
        args: Sequence[Any] = (),
        *,
        destination: str = SERVICE,
        no_reply: bool = False,
    ) -> Any:
        """A method call of the library. Variants in args are made with `variant()`."""
        flags = self.module.MessageFlag
        return self.module.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(args),
            flags=flags.NO_REPLY_EXPECTED if no_reply else flags.NONE,
            serial=self.bus.next_serial(),
        )

    async def call(
        self,
        path: str,
        interface: str | None,
        member: str,
        signature: str = "",
        args: Sequence[Any] = (),
        *,
        destination: str = SERVICE,
        timeout_s: float = 10,
    ) -> Any:
        """The reply's plain value: None, the only one, or a tuple. Raises CallFailed, TimeoutError."""
        call = self.message(path, interface, member, signature, args, destination=destination)
        reply = await asyncio.wait_for(self.bus.call(call), timeout_s)
        if reply.message_type == self.module.MessageType.ERROR:
            raise CallFailed(reply.error_name, str(reply.body[0]) if reply.body else "")
        values = tuple(plain(value) for value in reply.body)
        return values[0] if len(values) == 1 else values or None

    async def send(self, *args: Any, **options: Any) -> None:
        """A call that wants no reply."""
        await self.bus.send(self.message(*args, no_reply=True, **options))

    def variant(self, signature: str, value: Any) -> Any:
        return self.Variant(signature, value)

    async def get(self, path: str, interface: str, name: str) -> Any:
        return await self.call(path, PROPERTIES, "Get", "ss", [interface, name])

    async def get_all(self, path: str, interface: str) -> dict[str, Any]:
        found = await self.call(path, PROPERTIES, "GetAll", "s", [interface])
        assert isinstance(found, dict)
        return found

    async def managed_objects(self, path: str = ROOT) -> dict[str, dict[str, dict[str, Any]]]:
        found = await self.call(path, OBJECT_MANAGER, "GetManagedObjects")
        assert isinstance(found, dict)
        return found

    async def counters(self) -> dict[str, int]:
        found = await self.call(ROOT, f"{SERVICE}.Metrics", "GetCounters", "a{sv}", [{}])
        assert isinstance(found, dict)
        return found

    async def add_match(self, rule: str) -> None:
        await self.call(
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "AddMatch",
            "s",
            [rule],
            destination="org.freedesktop.DBus",
        )

    async def has_owner(self, name: str = SERVICE) -> bool:
        return bool(
            await self.call(
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "NameHasOwner",
                "s",
                [name],
                destination="org.freedesktop.DBus",
            )
        )

    async def signals(
        self,
        rule: str = f"type='signal',sender='{SERVICE}'",
        wanted: Callable[[Signal], bool] = lambda _: True,
    ) -> Signals:
        """A queue of the service's signals from now on; the bus matches `rule`."""
        queue = Signals(lambda signal: signal.sender != "org.freedesktop.DBus" and wanted(signal))
        self._queues.append(queue)
        await self.add_match(rule)
        return queue

    async def close(self) -> None:
        self.bus.disconnect()
        await asyncio.wait_for(self.bus.wait_for_disconnect(), 5)


async def error_of(client: Client, *call: Any) -> str:
    """The error's name, one of our own without its prefix; it must show nothing of the code."""
    with pytest.raises(CallFailed) as caught:
        await client.call(*call)
    assert "Traceback" not in caught.value.text
    assert ".py" not in caught.value.text
    return caught.value.name.removeprefix(f"{SERVICE}.Error.")


def plain(value: Any) -> Any:
    """Variants unwrapped, all the way down."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "signature") and hasattr(value, "value"):
        return plain(value.value)
    return value


async def wait_until(
    condition: Callable[[], Any], what: str, timeout_s: float = 10, interval_s: float = 0.02
) -> Any:
    """Ask an async or plain condition until it is true; AssertionError naming `what` when it never is."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(interval_s)

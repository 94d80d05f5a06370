"""A session: one opened libvirt connection, with its workers, its callbacks and the handles of its objects.

A session begins with a virConnect and ends once; a reconnect makes a new session. Events that callbacks post
after the end are ignored. A session passes on calls and events and does not know what they mean. Threads:
everything runs on the main thread, except the callbacks (vb-events) and the functions that are given to
call() and on() (workers).
"""

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack, overload

import libvirt

from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.changes import EVENT, LIFECYCLE
from virtbridge.model.enum_names import name_of
from virtbridge.model.keys import Key, Kind
from virtbridge.source.calls.errors import is_unsupported, not_connected
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.calls.opening import Closer
from virtbridge.source.calls.workers import Workers
from virtbridge.source.kinds.enums import CLOSE_REASON
from virtbridge.source.kinds.events import EventSpec
from virtbridge.source.kinds.row import Events, Handle, KindRow
from virtbridge.source.kinds.table import FOLLOWED
from virtbridge.tasks import all_of, end_all

log = logging.getLogger(__name__)

T = TypeVar("T")


class How(TypedDict, total=False):
    """How a call is made; see Workers.call() and Session.on()."""

    short: bool
    timeout_s: float | None
    urgent: bool
    on_returned: Callable[[], None] | None


END_S = 2.0  # how long deregistering and closing each may take, since the host may hang

# Before this version, libvirt's client crashes when its keepalive closes a connection on which several
# threads wait: the event source of the thread that polled remains, and refers to the stack of that thread
# (CVE-2024-4418). When a socket is lost this happens about once in a thousand times, and event_source_guard.c
# prevents it. Without the guard, keepalive causes it nearly every time. So for older versions the session
# itself asks a silent host, and closes nothing while calls wait.
KEEPALIVE_FIXED = 10_004_000

_CLOSE_TEXTS = {
    "error": "the connection failed",
    "eof": "the host closed the connection",
    "keepalive": "the host does not answer any more",
    "client": "the connection was closed here",
}


class LibvirtEvent(NamedTuple):
    """One event, as plain values and the handle that came with it."""

    kind: Kind
    # How libvirt announces this kind.
    events: Events
    handle: Handle
    # The member and arguments of the signal that it becomes (model.changes.Signal).
    member: str
    args: tuple[Any, ...]
    # Whether the XML may have changed.
    rereads: bool = False


def _unchanged(result: T) -> T:
    return result


class Session:
    """lost: is resolved with the reason when the connection is lost. on_event: is called with each event, in
    libvirt's order.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        raw: libvirt.virConnect,
        inbox: Inbox,
        metrics: Metrics,
        timeout_s: float,
    ) -> None:
        self.name = config.name
        self._raw = raw
        self._inbox = inbox
        self._metrics = metrics
        self.on_event: Callable[[LibvirtEvent], None] = lambda _event: None
        self._callbacks: list[tuple[str, tuple[int, ...]]] = []
        # By registering method and event number. False while the registration is in flight.
        self._registered: dict[tuple[str, int], bool] = {}
        self._ended = False
        self._closer: Closer | None = None
        self._keepalive: asyncio.Task[None] | None = None
        self.lost: asyncio.Future[BridgeError] = asyncio.get_running_loop().create_future()
        self.workers = Workers(
            config.name, inbox, metrics, timeout_s, alive=lambda: raw.isAlive() == 1, on_lost=self._lose
        )
        self.handles: dict[Key, Handle] = {}
        self.refused_flags: set[tuple[Kind, str]] = set()
        self.bulk_states = True

    @overload
    async def call(self, name: str, *args: object, then: Callable[[Any], T], **how: Unpack[How]) -> T: ...
    @overload
    async def call(self, name: str, *args: object, **how: Unpack[How]) -> Any: ...
    async def call(
        self, name: str, *args: object, then: Callable[[Any], object] = _unchanged, **how: Unpack[How]
    ) -> object:
        """Call a method of the virConnect in a worker. then: turns the result into the answer, in the worker
        as well. Raises BridgeError.
        """
        return await self.on(self._raw, name, *args, then=then, **how)

    @overload
    async def on(
        self, target: object, name: str, *args: object, then: Callable[[Any], T], **how: Unpack[How]
    ) -> T: ...
    @overload
    async def on(self, target: object, name: str, *args: object, **how: Unpack[How]) -> Any: ...
    async def on(
        self,
        target: object,
        name: str,
        *args: object,
        then: Callable[[Any], object] = _unchanged,
        short: bool = False,
        timeout_s: float | None = None,
        urgent: bool = False,
        on_returned: Callable[[], None] | None = None,
    ) -> object:
        """Call a method of any libvirt object of this connection, as call() does. on_returned: is called in
        the worker when libvirt has returned, even if that is after the timeout.
        """
        if self._ended:
            raise not_connected("the connection was closed")
        method = getattr(target, name)

        def function() -> object:
            try:
                result = method(*args)
            finally:
                if on_returned:
                    on_returned()
            return then(result)

        return await self.workers.call(name, function, short=short, urgent=urgent, timeout_s=timeout_s)

    def call_from_worker(self, target: object, name: str, *args: object) -> Any:
        """Make one more call, in a worker that is making a call already. Raises libvirtError."""
        self._metrics.add(f"libvirt.{name}")
        return getattr(target, name)(*args)

    async def set_up(self, config: ConnectionConfig) -> tuple[frozenset[Kind], dict[Kind, BridgeError]]:
        """Set up keepalive, the close callback and lifecycle events, all in parallel.

        Returns the kinds whose lifecycle libvirt announces, and for the kinds that failed the reason.
        """
        failures: dict[Kind, BridgeError] = {}
        kinds = list(FOLLOWED.values()) if config.events else []
        jobs = [self._try(row, self._register_lifecycle(row), failures) for row in kinds]
        answers = await all_of([*jobs, self._register_close(), self._keep_alive(config)])
        announced = (row.kind for row, answer in zip(kinds, answers, strict=False) if answer)
        return frozenset(announced), failures

    async def register_others(self, kinds: Iterable[KindRow]) -> dict[Kind, BridgeError]:
        """Register all events but lifecycle of these kinds. Returns why some of them failed."""
        failures: dict[Kind, BridgeError] = {}
        await all_of([self._try(row, self._register_others(row), failures) for row in kinds])
        return failures

    async def register(self, row: KindRow) -> bool:
        """Register the events of a kind that are not registered yet. Returns whether its lifecycle is."""
        answers = await all_of([self._register_lifecycle(row), self._register_others(row)])
        return answers[0]

    async def _register_others(self, row: KindRow) -> bool:
        assert row.events is not None
        await all_of([self._register_event(row, row.events, event) for event in row.events.others])
        return True

    async def _try(
        self, row: KindRow, job: Coroutine[Any, Any, bool], failures: dict[Kind, BridgeError]
    ) -> bool:
        try:
            return await job
        except BridgeError as error:
            if self.lost.done():
                raise
            failures[row.kind] = error
            return False

    async def _keep_alive(self, config: ConnectionConfig) -> bool:
        """Start libvirt's keepalive, or our own in its place. Drivers without it run in this process and need
        none.
        """
        interval_s, count = config.keepalive_interval_s, config.keepalive_count
        if interval_s <= 0:
            return False
        ours = libvirt.getVersion() < KEEPALIVE_FIXED
        interval = 0 if ours else interval_s
        supported = await self._if_supported(self.call("setKeepAlive", interval, count, short=True))
        if supported and ours:
            self._keepalive = asyncio.create_task(self._probe_silent_host(interval_s, count))
        return supported

    async def _probe_silent_host(self, interval_s: float, count: int) -> None:
        """Make a small call when the host has been silent, and treat it as lost when it does not answer."""
        method = self._raw.getLibVersion
        while not self.lost.done():
            silent_s = monotonic() - self.workers.answered_at
            await asyncio.sleep(max(0.05, interval_s - silent_s))
            if monotonic() - self.workers.answered_at < interval_s:
                continue
            if not await self.workers.probe("getLibVersion", method, interval_s * count):
                self._lose(not_connected(_CLOSE_TEXTS["keepalive"]))

    async def _register_close(self) -> bool:
        keep = partial(self._keep_callback, "unregisterCloseCallback")
        # For a driver without close callbacks libvirt reports success as well, and keeps ours for ever: the
        # callback must not refer to the session.
        on_close = partial(_on_close, weakref.ref(self))
        return await self._if_supported(
            self.call("registerCloseCallback", on_close, None, short=True, then=keep)
        )

    async def _register_lifecycle(self, row: KindRow) -> bool:
        assert row.events is not None
        callback = partial(self._on_lifecycle, row, row.events)
        return await self._if_supported(self._register(row.events, row.events.lifecycle_id, callback))

    async def _register_event(self, row: KindRow, events: Events, event: EventSpec) -> bool:
        """Register one event, or its fallback. Nothing depends on an event that the host does not have."""
        if event.fallback and (events.register, event.fallback.id) in self._registered:
            return True
        try:
            await self._register(events, event.id, partial(self._on_event, row, events, event))
        except BridgeError as error:
            if self.lost.done():
                raise
            log.debug("event not available conn=%s event=%s error=%s", self.name, event.name, error)
            return await self._register_event(row, events, event.fallback) if event.fallback else False
        return True

    async def _register(self, events: Events, number: int, callback: Callable[..., None]) -> None:
        """Register a callback at most once, however often this is tried: a second registration would announce
        every event twice.
        """
        which = (events.register, number)
        if (done := self._registered.get(which)) is not None:
            if not done:
                raise BridgeError(ErrorKind.TIMEOUT, f"{events.register} has not returned yet")
            return
        if self._ended:
            raise not_connected("the connection was closed")
        method = getattr(self._raw, events.register)

        def register() -> None:
            # This is noted here, in the worker: the caller may have stopped waiting when a slow host answers.
            self._registered[which] = False
            try:
                self._keep_callback(events.deregister, method(None, number, callback, None))
            except Exception:
                del self._registered[which]
                raise
            self._registered[which] = True

        await self.workers.call(events.register, register, short=True)

    def _keep_callback(self, deregister: str, number: int) -> None:
        self._callbacks.append((deregister, () if deregister == "unregisterCloseCallback" else (number,)))

    async def _if_supported(self, job: Coroutine[Any, Any, Any]) -> bool:
        try:
            await job
        except BridgeError as error:
            if not is_unsupported(error):
                raise
            return False
        return True

    # These run on vb-events: they copy plain values and return. libvirt-python prints and drops exceptions.

    def _on_lifecycle(
        self, row: KindRow, events: Events, _conn: Any, raw: Any, event: int, detail: int, *_: Any
    ) -> None:
        try:
            words = events.words(event, detail)
            received = LibvirtEvent(row.kind, events, row.handle_of(raw), LIFECYCLE, words)
            self._inbox.post(self._deliver, received)
        except Exception:
            log.exception("a lifecycle event was lost conn=%s kind=%s", self.name, row.kind)

    def _on_event(
        self, row: KindRow, events: Events, event: EventSpec, _conn: Any, raw: Any, *args: Any
    ) -> None:
        try:
            details = event.decode(args[:-1])
            received = LibvirtEvent(
                row.kind, events, row.handle_of(raw), EVENT, (event.name, details), event.row.rereads
            )
            self._inbox.post(self._deliver, received)
        except Exception:
            log.exception("an event was lost conn=%s event=%s", self.name, event.name)

    def closed(self, reason: int) -> None:
        word = name_of(CLOSE_REASON, reason)
        text = _CLOSE_TEXTS.get(word, f"the connection was closed ({word})")
        self._inbox.post(self._lose, not_connected(text))

    # These run on the main thread again.

    def _deliver(self, event: LibvirtEvent) -> None:
        if self._ended:
            return
        lifecycle = event.member == LIFECYCLE
        self._metrics.add(f"event.{'lifecycle' if lifecycle else event.args[0]}")
        self.on_event(event)

    def _lose(self, error: BridgeError) -> None:
        if not self.lost.done():
            self.lost.set_result(error)

    async def end(self) -> None:
        """Deregister, then close, each for a limited time. Calls that hang are left to their threads."""
        if self._ended:
            return
        if self._keepalive is not None:
            await end_all([self._keepalive])
        if not self.lost.done():
            await self._deregister()
        self._ended = True
        self.handles.clear()
        self._closer = closer = Closer(self.name, self._inbox, self._metrics, self._raw, self._callbacks)
        self._raw = None
        # A call keeps no reference to libvirt's connection: it must not be closed while calls are in flight.
        self.workers.abandon(on_ended=closer.start)
        await asyncio.wait([closer.done], timeout=END_S)

    def hangs(self) -> bool:
        """Return whether, after the end, a thread and maybe the socket of this session still exist."""
        return self.workers.running() > 0 or (self._closer is not None and not self._closer.done.done())

    async def _deregister(self) -> None:
        """Deregister all callbacks in parallel: over a slow link one after the other would take seconds.
        Those that do not return in time are left to the closer, as each keeps libvirt's connection.
        """
        callbacks, self._callbacks = self._callbacks, []  # a registration in flight may still add its own
        waiting = [asyncio.ensure_future(self.call(method, *args, short=True)) for method, args in callbacks]
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=END_S)
        self._callbacks += [each for each, task in zip(callbacks, waiting, strict=True) if task in late]
        for task in late:
            task.cancel()
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(answer, Exception):
                log.debug("deregistering failed conn=%s error=%s", self.name, answer)


def _on_close(session: weakref.ref[Session], _conn: Any, reason: int, _opaque: Any) -> None:
    if (living := session()) is not None:
        living.closed(reason)

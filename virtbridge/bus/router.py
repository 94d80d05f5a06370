"""The router: from a method call to its handler, and exactly one reply, whatever happens in between.

Marshalling, authorization and errors surround the handlers here, in one place. What the cache answers is
answered in the same turn of the loop; whatever waits becomes a task, so many of one caller and connection at
a time, and the rest of these wait for one of them to end: a host that hangs does not hold up calls to
another. Main thread only.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import CoroutineType
from typing import Any

from virtbridge.bus.access import READ, Access
from virtbridge.bus.binding import Bound, Route
from virtbridge.bus.call import Call, Fault, Marshalled, Refused
from virtbridge.bus.clients import Clients
from virtbridge.bus.contract import Method
from virtbridge.bus.errors import NAME_OF_KIND
from virtbridge.bus.guards import require_all
from virtbridge.bus.options import checked
from virtbridge.bus.publisher import Publisher
from virtbridge.config import LimitsConfig
from virtbridge.errors import BridgeError, ErrorKind, shortage
from virtbridge.metrics import Metrics
from virtbridge.tasks import end_all
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import Link
from virtbridge.wire.transport import BadBody, Variant, arguments, marshal, plain

log = logging.getLogger(__name__)

_MAX_TEXT = 2000  # of an error: some quote what the caller sent
_WAITING_BYTES = 16 << 20  # of all calls that wait for another one to end
_OVERHEAD_BYTES = 2048  # what one costs beside its body


# What one kind of path answers to: (interface, member), and ("", member) for calls that name no interface.
Face = Mapping[tuple[str, str], Route]


def face(bounds: Iterable[Bound]) -> Face:
    routes: dict[tuple[str, str], Route] = {}
    for bound in bounds:
        for name, route in bound.methods.items():
            routes[bound.interface.name, name] = route
            routes.setdefault(("", name), route)
    return routes


_Lane = tuple[str, str]  # a caller and a connection, "" for what is of none


@dataclass(frozen=True, slots=True)
class _Job:
    incoming: Incoming
    lane: _Lane
    method: Method
    work: Coroutine[Any, Any, Any]

    @property
    def size(self) -> int:
        return len(self.incoming.body) + _OVERHEAD_BYTES


class Router:
    """faces: by the main interface of an object. node: of a path on the way to one. nowhere: of any other
    path.
    """

    def __init__(
        self,
        link: Link,
        publisher: Publisher,
        clients: Clients,
        access: Access,
        metrics: Metrics,
        *,
        faces: Mapping[str, Face],
        node: Face,
        nowhere: Face,
        limits: LimitsConfig,
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._clients = clients
        self._access = access
        self._faces = faces
        self._node = node
        self._nowhere = nowhere
        self._limits = limits
        self._tasks: dict[_Lane, set[asyncio.Task[None]]] = {}
        self._waiting: dict[_Lane, deque[_Job]] = {}
        self._waiting_bytes = 0
        clients.vanished.append(self._forget)
        self._reads = 0
        metrics.gauge("queue.in-flight", lambda: sum(map(len, self._tasks.values())))
        metrics.gauge("queue.waiting", lambda: sum(map(len, self._waiting.values())))
        metrics.gauge("cache.reads", lambda: self._reads)

    def handle(self, incoming: Incoming) -> None:
        """Called by the link for each method call, in the order of the callers' turns."""
        self._clients.seen(incoming.sender)
        incoming.discard()  # no method of ours takes descriptors
        try:
            self._answer(incoming)
        except Exception as error:  # an edge: the D-Bus library must not see it
            self._fail(incoming, error)

    async def stop(self) -> None:
        """Every call that still waits gets its reply: Cancelled."""
        for lane in list(self._waiting):
            for job in self._take_waiting(lane):
                self._cancelled(job)
        await end_all(task for tasks in self._tasks.values() for task in tasks)

    def _answer(self, incoming: Incoming) -> None:
        target = self._publisher.by_path.get(incoming.path)
        route = self._route(incoming, self._face(incoming.path, target.shape.interface if target else None))
        if incoming.signature != route.method.in_signature:
            expected = route.method.in_signature or "nothing"
            raise Refused(
                Fault.INVALID_ARGS, f"{incoming.member} takes {expected}, not {incoming.signature!r}"
            )
        values = arguments(incoming)
        if "v" in incoming.signature:
            values = [value if type(value) is Variant else plain(value) for value in values]
        call = Call(incoming.path, target, incoming.sender, self._access)
        lane = incoming.sender, target.key.connection if target else ""
        if route.method.access != READ or (route.guards and not route.guards.keys().isdisjoint(values[-1])):
            self._spawn(lane, incoming, route.method, _allowed(route, call, values))
            return
        if route.method.options is not None:
            checked(values[-1], route.method.options)
        result = route.handler(call, *values)
        if type(result) is CoroutineType:  # isinstance asks an abstract class, at a tenth of the call's cost
            self._spawn(lane, incoming, route.method, result)
        else:
            self._reply(incoming, route.method, result)
            self._reads += 1

    def _face(self, path: str, interface: str | None) -> Face:
        if interface is not None:
            return self._faces[interface]
        return self._nowhere if self._publisher.tree.children(path) is None else self._node

    def _route(self, incoming: Incoming, face: Face) -> Route:
        route = face.get((incoming.interface, incoming.member))
        if route is not None:
            return route
        if face is self._nowhere:
            raise Refused(Fault.UNKNOWN_OBJECT, f"there is no object at {incoming.path}")
        if incoming.interface and not any(interface == incoming.interface for interface, _ in face):
            raise Refused(Fault.UNKNOWN_INTERFACE, f"{incoming.path} has no interface {incoming.interface}")
        where = incoming.interface or incoming.path
        raise Refused(Fault.UNKNOWN_METHOD, f"{where} has no method {incoming.member}")

    def _spawn(self, lane: _Lane, incoming: Incoming, method: Method, work: Coroutine[Any, Any, Any]) -> None:
        job = _Job(incoming, lane, method, work)
        if len(self._tasks.get(lane, ())) < self._limits.in_flight_per_client:
            self._start(job)
            return
        waiting = len(self._waiting.get(lane, ()))
        if waiting >= self._limits.calls_per_client or self._waiting_bytes > _WAITING_BYTES:
            work.close()
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, "too many calls are waiting for others to end")
        self._waiting.setdefault(lane, deque()).append(job)
        self._waiting_bytes += job.size

    def _start(self, job: _Job) -> None:
        task = asyncio.create_task(self._serve(job))
        self._tasks.setdefault(job.lane, set()).add(task)
        task.add_done_callback(partial(self._landed, job))

    async def _serve(self, job: _Job) -> None:
        try:
            self._reply(job.incoming, job.method, await job.work)
        except Exception as error:  # an edge: the top of a task
            self._fail(job.incoming, error)

    def _landed(self, job: _Job, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # perhaps before its first step, so it could not answer itself
            self._cancelled(job)
        lane = job.lane
        self._tasks[lane].discard(task)
        if waiting := self._waiting.get(lane):
            following = waiting.popleft()
            self._waiting_bytes -= following.size
            if not waiting:
                del self._waiting[lane]
            self._start(following)
        elif not self._tasks[lane]:
            del self._tasks[lane]

    def _cancelled(self, job: _Job) -> None:
        job.work.close()
        self._fail(job.incoming, BridgeError(ErrorKind.CANCELLED, "the call was cancelled"))

    def _take_waiting(self, lane: _Lane) -> Iterable[_Job]:
        jobs = self._waiting.pop(lane, ())
        self._waiting_bytes -= sum(job.size for job in jobs)
        return jobs

    def _forget(self, sender: str) -> None:
        """Nobody waits for these any more."""
        for lane in [lane for lane in self._waiting if lane[0] == sender]:
            for job in self._take_waiting(lane):
                job.work.close()
        for lane, tasks in self._tasks.items():
            if lane[0] == sender:
                for task in tasks:
                    task.cancel()

    def _reply(self, incoming: Incoming, method: Method, result: Any) -> None:
        if type(result) is Marshalled:
            body = result.body
        else:
            body = marshal(method.out_signature, [result] if method.out_signature else [])
        self._link.reply(incoming, method.out_signature, body)

    def _fail(self, incoming: Incoming, error: Exception) -> None:
        if (short := shortage(error)) is not None:
            log.warning("handler failed member=%s path=%s: %s", incoming.member, incoming.path, short.message)
            error = short
        name, text = _described(error)
        if not isinstance(error, BridgeError | Refused | BadBody):
            log.error("handler failed member=%s path=%s", incoming.member, incoming.path, exc_info=error)
        self._link.error(incoming, name, text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…")


async def _allowed(route: Route, call: Call, values: list[Any]) -> Any:
    """The handler's result, when the caller has the rights that the contract states.

    The options' types come between: they are the contract's, so that a refusal tells nothing.
    """
    await call.require(route.method.access or "")
    if route.method.options is not None:
        checked(values[-1], route.method.options)
        await require_all(route.guards.values(), call, values[-1])
    result = route.handler(call, *values)
    return await result if type(result) is CoroutineType else result


def _described(error: Exception) -> tuple[str, str]:
    """The D-Bus error name and text of whatever went wrong; nothing of ours but what was meant for
    clients.
    """
    if isinstance(error, BridgeError):
        code = f" (libvirt error {error.code})" if error.code else ""
        return NAME_OF_KIND[error.kind], f"{error.message}{code}"
    if isinstance(error, Refused):
        return error.fault.value, error.text
    if isinstance(error, BadBody):
        return Fault.INVALID_ARGS.value, str(error)
    return Fault.FAILED.value, "internal error; the service's log says more"

"""The router: from a method call to its handler, and exactly one reply, whatever happens in between.

Marshalling, authorization and errors surround the handlers here, in one place. What the cache answers is
answered in the same turn of the loop; whatever waits becomes a task, see in_flight.py. Main thread only.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from types import CoroutineType
from typing import Any

from virtbridge.bus.access import Access, Needed
from virtbridge.bus.binding import Bound, Route
from virtbridge.bus.call import Call, Fault, Marshalled, Refused
from virtbridge.bus.contract import Method
from virtbridge.bus.details import details_of
from virtbridge.bus.guards import needed_by_options
from virtbridge.bus.in_flight import InFlight, Job
from virtbridge.bus.large_replies import LARGE_BYTES, LargeReplies, Made
from virtbridge.bus.options import checked
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.rights import READ
from virtbridge.bus.rows import Rows
from virtbridge.errors import BridgeError, ErrorKind, shortage
from virtbridge.limiter import Bounds
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.clients import Clients
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import Link
from virtbridge.wire.transport import BadBody, Variant, arguments, marshal, plain

log = logging.getLogger(__name__)

_MAX_TEXT = 2000  # of an error: some quote what the caller sent


# What one kind of path answers to: (interface, member), and ("", member) for calls that name no interface.
Routes = Mapping[tuple[str, str], Route]


def routes_of(bounds: Iterable[Bound]) -> Routes:
    routes: dict[tuple[str, str], Route] = {}
    for bound in bounds:
        for name, route in bound.methods.items():
            routes[bound.interface.name, name] = route
            routes.setdefault(("", name), route)
    return routes


class Router:
    """objects: the routes of an object, by its main interface. node: those of a path on the way to one.
    nowhere: those of any other path. lookup: gives an object's record. running: how many calls of each
    connection may be worked on at a time. authorizing: how many calls may be asked about at a time. waiting:
    how many may wait for either. large: how many large replies may wait for their turn.
    """

    def __init__(
        self,
        link: Link,
        publisher: Publisher,
        lookup: Callable[[Key], Any],
        clients: Clients,
        access: Access,
        metrics: Metrics,
        *,
        objects: Mapping[str, Routes],
        node: Routes,
        nowhere: Routes,
        error_names: Mapping[ErrorKind, str],
        running: Bounds,
        authorizing: Bounds,
        waiting: BacklogLimits,
        large: BacklogLimits,
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._lookup = lookup
        self._access = access
        self._objects = objects
        self._node = node
        self._nowhere = nowhere
        self._error_names = error_names
        self._in_flight = InFlight(running, waiting, self._serve, self._cancelled, link.has_room)
        # Apart from the calls that are worked on: whoever types a password holds up no call but his own.
        self._authorizing = InFlight(authorizing, waiting, self._begin, self._cancelled, link.has_room)
        link.on_room = self._resume
        clients.vanished += [self._authorizing.forget, self._in_flight.forget]
        self._reads = 0
        self._large = LargeReplies(link, self._fail, large)
        clients.vanished.append(self._large.forget)
        metrics.gauge("queue.large", lambda: len(self._large))
        metrics.gauge("queue.in-flight", lambda: len(self._in_flight))
        metrics.gauge("queue.waiting", lambda: self._in_flight.waiting + self._authorizing.waiting)
        metrics.gauge("queue.authorizing", lambda: len(self._authorizing))
        metrics.gauge("cache.reads", lambda: self._reads)

    def handle(self, incoming: Incoming) -> None:
        """Serve a method call. The link calls it for each, in the order of the callers' turns."""
        incoming.discard()  # no method of ours takes descriptors
        try:
            self._answer(incoming)
        except Exception as error:  # an edge: the D-Bus library must not see it
            self._fail(incoming, error)

    async def stop(self) -> None:
        """Answer every call that still waits with Cancelled."""
        await self._authorizing.stop()
        await self._in_flight.stop()
        await self._large.stop()

    def _answer(self, incoming: Incoming) -> None:
        target = self._publisher.by_path.get(incoming.path)
        route = self._route(
            incoming, self._routes(incoming.path, target.properties.interface if target else None)
        )
        if incoming.signature != route.method.in_signature:
            expected = route.method.in_signature or "nothing"
            raise Refused(
                Fault.INVALID_ARGS, f"{incoming.member} takes {expected}, not {incoming.signature!r}"
            )
        values = arguments(incoming)
        if "v" in incoming.signature:
            values = [value if type(value) is Variant else plain(value) for value in values]
        call = Call(incoming.path, target, incoming.sender, incoming.user)
        if not route.only_reads and _needs_more_than_reading(route, values):
            if self._access.has_all(incoming.user):
                self._in_flight.add(self._allowed(incoming, route, call, values))
            else:
                work = self._authorized(incoming, route, call, values)
                self._authorizing.add(Job(incoming, "", route.method, work))
            return
        if route.method.options is not None:
            checked(values[-1], route.method.options)
        result = route.handler(call, *values)
        if type(result) is CoroutineType:  # isinstance asks an abstract class, at a tenth of the call's cost
            self._in_flight.add(Job(incoming, _connection(call), route.method, result))
        else:
            self._reply(incoming, route.method, result)
            self._reads += 1

    def _routes(self, path: str, interface: str | None) -> Routes:
        if interface is not None:
            return self._objects[interface]
        return self._nowhere if self._publisher.tree.children(path) is None else self._node

    def _route(self, incoming: Incoming, routes: Routes) -> Route:
        route = routes.get((incoming.interface, incoming.member))
        if route is not None:
            return route
        if routes is self._nowhere:
            raise Refused(Fault.UNKNOWN_OBJECT, f"there is no object at {incoming.path}")
        if incoming.interface and not any(interface == incoming.interface for interface, _ in routes):
            raise Refused(Fault.UNKNOWN_INTERFACE, f"{incoming.path} has no interface {incoming.interface}")
        where = incoming.interface or incoming.path
        raise Refused(Fault.UNKNOWN_METHOD, f"{where} has no method {incoming.member}")

    async def _authorized(self, incoming: Incoming, route: Route, call: Call, values: list[Any]) -> Job:
        """The job that the caller is allowed. Raises NotAuthorized and its like.

        Only what everybody may know is looked at before: the contract's types of the options, and whether
        there is such an object. The object is looked up again afterwards, as a person may have taken minutes.
        """
        method = route.method
        if method.options is not None:
            checked(values[-1], method.options)
        needed = [route.needed_for(call, *values)] if route.needed_for else [Needed(method.access or "")]
        if route.guards:
            needed += await needed_by_options(route.guards.values(), call, values[-1])
        operation = needed[0].operation or method.name
        details = self._details(incoming, call, operation)
        await self._access.require(incoming, needed, details)
        if call.target is not None:
            call.target = self._publisher.by_path.get(call.path)
            if self._details(incoming, call, operation) != details:
                text = f"{call.path} is not the object any more that the caller was authorized for"
                raise BridgeError(ErrorKind.NO_SUCH_OBJECT, text)
        return self._allowed(incoming, route, call, values)

    def _details(self, incoming: Incoming, call: Call, operation: str) -> dict[str, str]:
        target = call.target
        interface = target.properties.interface if target else incoming.interface
        return details_of(
            target.key if target else None, self._lookup, interface=interface, operation=operation
        )

    async def _begin(self, job: Job) -> None:
        """Work on a call once its caller is authorized."""
        try:
            self._in_flight.add(await job.work)
        except Exception as error:  # an edge: the top of a task
            self._fail(job.incoming, error)

    def _allowed(self, incoming: Incoming, route: Route, call: Call, values: list[Any]) -> Job:
        return Job(incoming, _connection(call), route.method, _result(route, call, values))

    def _resume(self) -> None:
        self._authorizing.resume()
        self._in_flight.resume()

    async def _serve(self, job: Job) -> None:
        try:
            self._reply(job.incoming, job.method, await job.work)
        except Exception as error:  # an edge: the top of a task
            self._fail(job.incoming, error)

    def _cancelled(self, incoming: Incoming) -> None:
        self._fail(incoming, BridgeError(ErrorKind.CANCELLED, "the call was cancelled"))

    def _reply(self, incoming: Incoming, method: Method, result: Any) -> None:
        signature = method.out_signature
        body: bytes | memoryview | None
        if type(result) is Marshalled:
            body = result.body
        elif isinstance(result, Rows):
            body = result.at_once()
        else:
            body = marshal(signature, [result] if signature else [])
        if body is None:
            self._large.send(incoming, signature, result)
        elif len(body) > LARGE_BYTES:
            self._large.send(incoming, signature, Made(body))
        else:
            self._link.reply(incoming, signature, bytes(body))

    def _fail(self, incoming: Incoming, error: Exception) -> None:
        if (short := shortage(error)) is not None:
            log.warning("handler failed member=%s path=%s: %s", incoming.member, incoming.path, short.message)
            error = short
        name, text = _described(error, self._error_names)
        if not isinstance(error, BridgeError | Refused | BadBody):
            log.error("handler failed member=%s path=%s", incoming.member, incoming.path, exc_info=error)
        self._link.error(incoming, name, text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…")


def _needs_more_than_reading(route: Route, values: list[Any]) -> bool:
    return (
        route.method.access != READ
        or route.needed_for is not None
        or not route.guards.keys().isdisjoint(values[-1])
    )


def _connection(call: Call) -> str:
    return call.target.key.connection if call.target else ""


async def _result(route: Route, call: Call, values: list[Any]) -> Any:
    """Return the handler's result. The caller has the rights that the contract states."""
    if route.method.options is not None:
        checked(values[-1], route.method.options)
    result = route.handler(call, *values)
    return await result if type(result) is CoroutineType else result


def _described(error: Exception, names: Mapping[ErrorKind, str]) -> tuple[str, str]:
    """Return the D-Bus error name and text for whatever went wrong. Of our own texts only those meant for
    clients are sent.
    """
    if isinstance(error, BridgeError):
        code = f" (libvirt error {error.code})" if error.code else ""
        return names[error.kind], f"{error.message}{code}"
    if isinstance(error, Refused):
        return error.fault.value, error.text
    if isinstance(error, BadBody):
        return Fault.INVALID_ARGS.value, str(error)
    return Fault.FAILED.value, "internal error; the service's log says more"

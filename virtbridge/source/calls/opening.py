"""Opening a libvirt connection in a thread of its own, so that a host that hangs delays nobody.

Must never ask a person: ssh is kept from the terminal, and credentials are refused. A connection that comes
after whoever waited has gone is closed again. Threads: `open_handle` on the main thread, the opening in
`vb-<name>-open`.
"""

import asyncio
import gc
import logging
import threading
from collections.abc import Sequence
from typing import Any

import libvirt

from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.memory import end_if_exhausted, need_room
from virtbridge.metrics import Metrics
from virtbridge.source.calls.errors import bridge_error
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.calls.uris import public_uri, unattended_uri

log = logging.getLogger(__name__)

_RETRY_S = 1.0  # until another attempt to get a thread
HUNG_LIMIT = 4  # opens of one connection that never came back; then no more until one does

_CREDENTIALS = [
    libvirt.VIR_CRED_USERNAME,
    libvirt.VIR_CRED_AUTHNAME,
    libvirt.VIR_CRED_PASSPHRASE,
    libvirt.VIR_CRED_ECHOPROMPT,
    libvirt.VIR_CRED_NOECHOPROMPT,
]


def _refuse_credentials(_asked: list[Any], _opaque: Any) -> int:
    return -1  # what an auth file or the URI does not answer, nobody does: there is no person at a service


class Opener:
    """Opens one configured connection, again and again. hung: attempts that have not come back."""

    def __init__(self, config: ConnectionConfig, inbox: Inbox, metrics: Metrics) -> None:
        self._config = config
        self._inbox = inbox
        self._metrics = metrics
        self.hung = 0

    async def open_handle(self, timeout_s: float) -> Any:
        """A virConnect. Raises BridgeError, Timeout among others."""
        if self.hung >= HUNG_LIMIT:
            raise BridgeError(ErrorKind.TIMEOUT, f"{self.hung} attempts to connect have not come back yet")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.hung += 1
        name = f"vb-{self._config.name[:7]}-open"
        need_room()
        try:
            threading.Thread(target=self._open, args=(answer,), name=name, daemon=True).start()
        except RuntimeError as error:  # the system gives us no more
            self.hung -= 1
            raise bridge_error(error) from None
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise BridgeError(ErrorKind.TIMEOUT, f"not connected within {timeout_s:g} s") from None

    def _open(self, answer: "asyncio.Future[Any]") -> None:
        self._metrics.add("libvirt.open")
        flags = libvirt.VIR_CONNECT_RO if self._config.read_only else 0
        try:
            handle = libvirt.openAuth(
                unattended_uri(self._config.uri), [_CREDENTIALS, _refuse_credentials, None], flags
            )
        except Exception as error:
            end_if_exhausted(error)
            self._inbox.post(self._failed, answer, bridge_error(error))
        else:
            self._inbox.post(self._opened, answer, handle)

    def _failed(self, answer: "asyncio.Future[Any]", error: BridgeError) -> None:
        self.hung -= 1
        if not answer.done():
            answer.set_exception(error)

    def _opened(self, answer: "asyncio.Future[Any]", handle: Any) -> None:
        self.hung -= 1
        if not answer.done():
            answer.set_result(handle)
            return
        log.info(
            "a late connection is closed conn=%s uri=%s", self._config.name, public_uri(self._config.uri)
        )
        Closer(self._config.name, self._inbox, self._metrics, handle).start()


class Closer:
    """Deregisters what is left and closes a handle, in a thread `vb-<name>-end` that may hang as long as its
    host.

    callbacks: deregistering method and its argument, empty tuple for none. done: when the host let it.
    """

    def __init__(
        self,
        name: str,
        inbox: Inbox,
        metrics: Metrics,
        handle: Any,
        callbacks: Sequence[tuple[str, tuple[int, ...]]] = (),
    ) -> None:
        self._name = name
        self._inbox = inbox
        self._metrics = metrics
        self._handle = handle
        self._callbacks = callbacks
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """No call may be under way, nor come: libvirt frees the connection when the last one lets it go."""
        # Through the inbox: events that still wait there hold handles, and those hold the connection.
        self._inbox.post(self._start)

    def _start(self) -> None:
        name = f"vb-{self._name[:8]}-end"
        try:
            threading.Thread(target=self._close, args=(self._handle,), name=name, daemon=True).start()
        except RuntimeError as error:  # the system gives us no more: a handle that stays would be a leak
            log.warning("a connection is closed later conn=%s: %s", self._name, bridge_error(error).message)
            asyncio.get_running_loop().call_later(_RETRY_S, self._start)
        else:
            self._handle = None

    def _close(self, handle: Any) -> None:
        for method, args in self._callbacks:
            self._counted_call(method, handle, *args)
        left = self._counted_call("close", handle)
        if left:
            log.warning(
                "something still refers to a closed connection conn=%s references=%d", self._name, left
            )
            # Whoever lets the last of it go asks the host to say goodbye, which may hang. That must not be
            # the main thread, the next time it collects garbage.
            gc.collect()
        del handle
        self._inbox.post(self._finished)

    def _counted_call(self, method: str, handle: Any, *args: int) -> int:
        self._metrics.add(f"libvirt.{method}")
        try:
            return getattr(handle, method)(*args) or 0
        except (
            libvirt.libvirtError
        ) as error:  # as expected of a lost connection; the local part is done all the same
            log.debug("ending a connection conn=%s call=%s error=%s", self._name, method, error)
            return 0

    def _finished(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

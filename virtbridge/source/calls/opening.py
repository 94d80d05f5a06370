"""Opening and closing a libvirt connection in a thread of its own, so that a host that hangs delays nobody.

Opening never asks a person: ssh does not use the terminal, and requests for credentials are refused. If the
connection opens after its caller has stopped waiting, it is closed again. Threads: open_handle() runs on the
main thread, the opening itself in `vb-<name>-open`.
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

_RETRY_S = 1.0  # the pause before another attempt to start a thread
HUNG_LIMIT = 4  # the number of calls that may hang; no other is made until one of them returns

_CREDENTIALS = [
    libvirt.VIR_CRED_USERNAME,
    libvirt.VIR_CRED_AUTHNAME,
    libvirt.VIR_CRED_PASSPHRASE,
    libvirt.VIR_CRED_ECHOPROMPT,
    libvirt.VIR_CRED_NOECHOPROMPT,
]


def _refuse_credentials(_asked: list[Any], _opaque: Any) -> int:
    return -1  # only an auth file and the URI give credentials: a service has no person to ask


class Opener:
    """Opens one configured connection, as often as needed. hung: the attempts that have not returned yet."""

    def __init__(self, config: ConnectionConfig, inbox: Inbox, metrics: Metrics) -> None:
        self._config = config
        self._inbox = inbox
        self._metrics = metrics
        self.hung = 0

    async def open_handle(self, timeout_s: float) -> libvirt.virConnect:
        """Open the connection. Raises BridgeError, among others Timeout."""
        if self.hung >= HUNG_LIMIT:
            raise BridgeError(ErrorKind.TIMEOUT, f"{self.hung} attempts to connect have not returned yet")
        answer: asyncio.Future[libvirt.virConnect] = asyncio.get_running_loop().create_future()
        self.hung += 1
        name = f"vb-{self._config.name[:7]}-open"
        need_room()
        try:
            threading.Thread(target=self._open, args=(answer,), name=name, daemon=True).start()
        except RuntimeError as error:  # the system has no room for another thread
            self.hung -= 1
            raise bridge_error(error) from None
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise BridgeError(ErrorKind.TIMEOUT, f"not connected within {timeout_s:g} s") from None

    def _open(self, answer: "asyncio.Future[libvirt.virConnect]") -> None:
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

    def _failed(self, answer: "asyncio.Future[libvirt.virConnect]", error: BridgeError) -> None:
        self.hung -= 1
        if not answer.done():
            answer.set_exception(error)

    def _opened(self, answer: "asyncio.Future[libvirt.virConnect]", handle: libvirt.virConnect) -> None:
        self.hung -= 1
        if not answer.done():
            answer.set_result(handle)
            return
        log.info(
            "a connection opened too late and is closed conn=%s uri=%s",
            self._config.name,
            public_uri(self._config.uri),
        )
        Closer(self._config.name, self._inbox, self._metrics, handle).start()


class Closer:
    """Deregisters the remaining callbacks and closes a connection, in a thread `vb-<name>-end`. That thread
    may hang for as long as the host does.

    callbacks: pairs of a deregistering method and its arguments. done: is resolved when the connection is
    closed.
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
        """Close the connection. No call may be in flight or follow: libvirt frees the connection together
        with the last reference to it.
        """
        # This goes through the inbox: pending events there refer to handles, which refer to the connection.
        self._inbox.post(self._start)

    def _start(self) -> None:
        name = f"vb-{self._name[:8]}-end"
        try:
            threading.Thread(target=self._close, args=(self._handle,), name=name, daemon=True).start()
        except RuntimeError as error:  # the system has no room for a thread: without a retry the handle leaks
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
            # Dropping the last reference calls the host, which may hang. The main thread must not do that
            # when it collects garbage the next time, so it is done here.
            gc.collect()
        del handle
        self._inbox.post(self._finished)

    def _counted_call(self, method: str, handle: Any, *args: int) -> int:
        self._metrics.add(f"libvirt.{method}")
        try:
            return getattr(handle, method)(*args) or 0
        except (
            libvirt.libvirtError
        ) as error:  # a lost connection does this; libvirt has done the local part nevertheless
            log.debug("ending a connection conn=%s call=%s error=%s", self._name, method, error)
            return 0

    def _finished(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

"""A private dbus-broker, with nothing but itself: we are its controller.

dbus-broker-launch needs systemd's journal socket, so it cannot run everywhere tests do. The broker itself
takes a listening socket and a policy from whoever holds the other end of its controller socket.
Source: dbus-broker's own tests (AddListener of org.bus1.DBus.Broker); the policy is as version 33 wants it.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.dbus_daemon import BusDaemon
from virtbridge.wire import framing, headers, transport

_TIMEOUT_S = 10.0
_RULES = "bta(btbs)a(btssssuutt)a(btssssuutt)"
_POLICY = f"(a(u({_RULES}))a(buu({_RULES}))a(ss)bs)"


def _policy() -> Any:
    """Everybody may connect, own and send everything."""
    transmission = [True, 1, "", "", "", "", 0, 0, 0, 2**64 - 1]
    everybody = [2**32 - 1, [True, 1, [[True, 1, True, ""]], [transmission], [transmission]]]
    return transport.Variant(_POLICY, [[everybody], [], [], False, "session"])


@contextmanager
def dbus_broker() -> Iterator[BusDaemon]:
    """A running private bus. Skips the test where dbus-broker is missing, or wants another policy."""
    program = shutil.which("dbus-broker")
    if program is None:
        pytest.skip("dbus-broker is not installed")
    directory = Path(tempfile.mkdtemp(prefix="virtbridge-broker-"))
    listener = socket.socket(socket.AF_UNIX)
    ours, theirs = socket.socketpair()
    ours.settimeout(_TIMEOUT_S)
    listener.bind(str(directory / "bus"))
    listener.listen(100)
    listener.setblocking(False)
    theirs.setblocking(False)
    command = [program, f"--controller={theirs.fileno()}", "--machine-id=0123456789abcdef0123456789abcdef"]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    bus = BusDaemon(f"unix:path={directory}/bus", directory, process)
    try:
        _add_listener(ours, listener)
        yield bus
    finally:
        bus.stop()
        ours.close()
        listener.close()
        shutil.rmtree(directory, ignore_errors=True)


def _add_listener(controller: socket.socket, listener: socket.socket) -> None:
    for line in (b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode(), b"NEGOTIATE_UNIX_FD"):
        controller.sendall(line + b"\r\n")
        answer = controller.recv(1000)
        assert answer.startswith((b"OK", b"AGREE_UNIX_FD")), answer
    controller.sendall(b"BEGIN\r\n")
    body = transport.marshal("ohv", ["/org/bus1/DBus/Listener/0", 0, _policy()])
    frame = headers.Headers().method_call(
        1, "", "/org/bus1/DBus/Broker", "org.bus1.DBus.Broker", "AddListener", "ohv", body, fds=1
    )
    socket.send_fds(controller, [frame], [listener.fileno()])
    splitter = framing.Splitter()
    found: list[framing.Incoming] = []
    while not found:
        found = splitter.feed(controller.recv(65536))
    if found[0].kind == framing.ERROR:
        pytest.skip(f"this dbus-broker wants another policy: {found[0].error_name}")

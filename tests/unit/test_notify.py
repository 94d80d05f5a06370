"""sd_notify over real datagram sockets, of both kinds that systemd uses."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtbridge.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """systemd's end of the socket, and the environment that names it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@virtbridge-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1))
        listener.settimeout(5)
        yield listener, {"NOTIFY_SOCKET": address}


def test_each_message_is_one_datagram(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    listener, environ = systemd
    notifier = Notifier(environ)
    notifier.ready("2 connections, 30 domains")
    assert listener.recv(4096) == b"READY=1\nSTATUS=2 connections, 30 domains"
    notifier.status("lab lost")
    assert listener.recv(4096) == b"STATUS=lab lost"
    notifier.watchdog()
    assert listener.recv(4096) == b"WATCHDOG=1"
    notifier.stopping("Closing connections")
    assert listener.recv(4096) == b"STOPPING=1\nSTATUS=Closing connections"


def test_reloading_carries_the_monotonic_time(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    listener, environ = systemd
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(environ).reloading()
    first, _, second = listener.recv(4096).decode().partition("\n")
    assert first == "RELOADING=1"
    name, _, usec = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(usec) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_cannot_smuggle_in_another_variable(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    listener, environ = systemd
    Notifier(environ).status("lab\nMAINPID=1")
    assert listener.recv(4096) == b"STATUS=lab MAINPID=1"


@pytest.mark.parametrize("address", ["", "/nonexistent/notify", "@virtbridge-nobody-listens"])
def test_nobody_listening_is_nothing_to_fail_for(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("up")
    notifier.watchdog()


def test_a_full_socket_does_not_block(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    _listener, environ = systemd
    notifier = Notifier(environ)
    began = time.monotonic()
    for _ in range(2000):  # many times what a datagram socket holds when nobody reads
        notifier.watchdog()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_interval(environ: dict[str, str], expected: float | None) -> None:
    assert Notifier(environ).watchdog_s == expected

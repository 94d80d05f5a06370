"""`make run` as a person sees it: the guide, the changes, and a clean end."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dbus_daemon import BusDaemon
from virtbridge.tour import __main__ as tour_main
from virtbridge.wire.link import BusError

WAIT_S = 60


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "virtbridge.tour"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "NOTIFY_SOCKET": ""},
    )
    with process:
        # It waits no longer than this for a line, whatever happens; a test that is done has ended it before.
        signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.alarm(WAIT_S)
        yield process
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        process.kill()


def _read_until(tour: subprocess.Popen[str], pattern: str) -> list[str]:
    assert tour.stdout is not None
    lines = []
    for line in tour.stdout:
        lines.append(line.rstrip())
        if re.search(pattern, line):
            return lines
    raise AssertionError(f"{pattern} was never said, but: {lines}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_tour_tells_shows_and_ends(tour: subprocess.Popen[str], tmp_path: Path, number: int) -> None:
    guide = "\n".join(_read_until(tour, "Ctrl-C"))
    found = re.search(r"export DBUS_SESSION_BUS_ADDRESS='(unix:path=(.*))'", guide)
    assert found is not None
    _read_until(tour, r"-> virDomainSuspend\(test\)")
    heard = _read_until(tour, "Lifecycle suspended paused")
    assert any(line.endswith("Domain test        State = paused, StateReason = user") for line in heard)
    shown = subprocess.run(
        [
            *["busctl", "--user", "get-property", "org.virtbridge1"],
            *re.findall(r"get-property \S+ (.*)", guide)[0].split(),
        ],
        env=os.environ | {"DBUS_SESSION_BUS_ADDRESS": found[1]},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert shown.stdout == 's "paused"\n'
    tour.send_signal(number)
    assert tour.wait(WAIT_S) == 0
    assert not Path(found[2]).exists()
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_its_reader(tour: subprocess.Popen[str], tmp_path: Path) -> None:
    _read_until(tour, "Ctrl-C")
    assert tour.stdout is not None
    tour.stdout.close()
    assert tour.wait(WAIT_S) == 0
    assert list(tmp_path.iterdir()) == []


async def test_a_service_that_ends_before_the_narrator_has_begun_is_no_failure(
    bus: BusDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody owns the name, as when the reader went away during the guide."""
    ending = asyncio.Event()
    service = asyncio.create_task(ends(ending))
    asyncio.get_running_loop().call_soon(ending.set)
    await tour_main._show(service, bus.address)
    assert await service == 0
    monkeypatch.setattr(tour_main, "_END_S", 0)
    lasting = asyncio.create_task(ends(asyncio.Event()))
    with pytest.raises(BusError, match="ServiceUnknown"):
        await tour_main._show(lasting, bus.address)
    lasting.cancel()


async def ends(when: asyncio.Event) -> int:
    await when.wait()
    return 0


def test_without_dbus_daemon_it_says_so(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "virtbridge.tour"],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "virtbridge tour: dbus-daemon is not installed\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a host name of its own")
def test_libvirt_s_own_warnings_are_no_part_of_it(tmp_path: Path) -> None:
    """A bare machine's host name resolves to nothing, and libvirt says so when it is asked for it."""
    command = f"hostname nowhere; exec timeout -s INT 10 {sys.executable} -m virtbridge.tour"
    shown = subprocess.run(
        ["unshare", "--uts", "sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        timeout=WAIT_S,
        check=False,
    ).stdout
    assert "Lifecycle" in shown  # an event of the connection, which has been asked for its host name by then
    assert "getaddrinfo" not in shown

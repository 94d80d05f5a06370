"""The daemon from outside: starting, reloading, ending, and who may do what on the system bus."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.client import PROPERTIES, ROOT, SERVICE, CallFailed, Client, wait_until
from tests.support.daemon import REPOSITORY, Daemon
from tests.support.dbus_daemon import BusDaemon, dbus_daemon

CONNECTION = "org.virtbridge1.Connection"
TIMEOUT_S = 20


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "virtbridge", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


async def test_a_taken_name_is_not_waited_for_and_its_owner_is_named(bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    second = await asyncio.to_thread(run, "--session", DBUS_SESSION_BUS_ADDRESS=bus.address)
    assert second.returncode == 1
    assert f"org.virtbridge1 is taken by process {daemon.pid}" in second.stderr
    await daemon.stop()


async def test_a_second_instance_opens_no_connection(bus: BusDaemon, tmp_path: Path) -> None:
    """libvirtd's socket is ours here: whoever connects to it is heard of, however soon it ends."""
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(str(tmp_path / "libvirt-sock"))
        host.listen()
        host.setblocking(False)
        uri = f"test+unix:///default?socket={tmp_path / 'libvirt-sock'}"
        second = await asyncio.to_thread(
            run, "--session", "--connect", f"lab={uri}", DBUS_SESSION_BUS_ADDRESS=bus.address
        )
        assert (second.returncode, "is taken by" in second.stderr) == (1, True)
        with pytest.raises(BlockingIOError):
            host.accept()
    await daemon.stop()


def test_no_bus_and_bad_configuration_end_with_their_own_status(tmp_path: Path) -> None:
    no_bus = run("--session", DBUS_SESSION_BUS_ADDRESS=f"unix:path={tmp_path}/none")
    assert (no_bus.returncode, "no bus" in no_bus.stderr) == (1, True)
    config = tmp_path / "virtbridge.toml"
    config.write_text('[connections.lab]\nuri = "nonsense"\nspeed = 3\n')
    bad = run("--session", "--config", str(config))
    assert bad.returncode == 2
    lines = bad.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{config}:2: connections.lab.uri: ")
    assert lines[1].startswith(f"{config}:3: connections.lab.speed: ")


_INTERRUPTED = """
import os, signal, sys
from virtbridge.__main__ import main

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "virtbridge.daemon":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
main()
"""


def test_an_interrupt_while_it_starts_shows_no_traceback() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, b"")


async def test_the_bus_and_the_level_that_are_asked_for(bus: BusDaemon, tmp_path: Path) -> None:
    config = tmp_path / "virtbridge.toml"
    config.write_text(f'bus.address = "{bus.address}"\n')
    nowhere = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/none"}
    args = ["--config", str(config), "--log-level", "warning"]
    daemon = await Daemon.start(bus.address, {}, args=args, env=nowhere)
    await daemon.stop()
    daemon = await Daemon.start(bus.address, {}, args=["--log-level", "warning"])
    daemon.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(daemon.process.wait, TIMEOUT_S)
    assert daemon.log() == ""
    daemon.kill()


async def test_the_end_of_the_bus_is_the_end_of_the_daemon(bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    bus.kill()
    assert await asyncio.to_thread(daemon.process.wait, TIMEOUT_S) == 1
    assert "Traceback" not in daemon.log()
    daemon.kill()


async def test_an_end_while_calls_wait_answers_them(bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    client = await Client.connect(bus.address)
    forever = "//*"
    for _ in range(30):
        forever = f"//*[count({forever}) > 0]"
    query = asyncio.create_task(
        client.call(ROOT, "org.virtbridge1.Manager", "QueryXml", "ssa{sv}", ["domain", forever, {}])
    )

    async def waiting() -> bool:
        return (await client.counters())["queue.in-flight"] == 1

    await wait_until(waiting, "the query is being worked on")
    await daemon.stop()
    with pytest.raises(CallFailed, match="Cancelled"):
        await query
    await client.close()


async def test_a_reload_touches_only_what_changed(bus: BusDaemon, tmp_path: Path) -> None:
    config = tmp_path / "virtbridge.toml"
    config.write_text('[connections.a]\nuri = "test:///default"\n[connections.b]\nuri = "test:///default"\n')
    daemon = await Daemon.start(bus.address, {}, args=["--config", str(config)])
    client = await Client.connect(bus.address)
    for name in "ab":
        await daemon.wait_state(client, name, "ready")
    await client.call(
        ROOT, "org.virtbridge1.Manager", "OpenConnection", "ssa{sv}", ["mine", "test:///default", {}]
    )
    await daemon.wait_state(client, "mine", "ready")
    synced = await client.get(f"{ROOT}/a", CONNECTION, "LastSync")
    signals = await client.signals()

    config.write_text('[connections.a]\nuri = "test:///default"\n[connections.c]\nuri = "test:///default"\n')
    daemon.process.send_signal(signal.SIGHUP)
    await daemon.wait_state(client, "c", "ready")
    assert await client.get(ROOT, "org.virtbridge1.Manager", "Connections") == [
        f"{ROOT}/{name}" for name in ("a", "c", "mine")
    ]
    assert await client.get(f"{ROOT}/a", CONNECTION, "LastSync") == synced
    about = {str(heard.args[0]) if heard.path == ROOT else heard.path for heard in signals.drain()}
    assert not [path for path in about if path.startswith((f"{ROOT}/a", f"{ROOT}/mine"))]

    config.write_text("[connections.a]\nuri = 3\n")
    daemon.process.send_signal(signal.SIGHUP)
    await wait_until(lambda: "the configuration stays as it was" in daemon.log(), "the mistake is logged")
    assert len(await client.get(ROOT, "org.virtbridge1.Manager", "Connections")) == 3
    await client.close()
    await daemon.stop()


async def _ended_by_many_signals(process: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    """The same signal again and again until it has ended, as an impatient person sends it."""
    async with asyncio.timeout(TIMEOUT_S):
        while process.poll() is None:
            process.send_signal(number)
            await asyncio.sleep(0.001)
    return process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_more_signal_does_not_spoil_the_end(bus: BusDaemon, number: signal.Signals) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    assert await _ended_by_many_signals(daemon.process, number) == 0
    await daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_cleanly_while_it_waits_for_a_bus(tmp_path: Path, number: signal.Signals) -> None:
    with socket.socket(socket.AF_UNIX) as listener, (tmp_path / "log").open("w+") as log:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        listener.settimeout(TIMEOUT_S)
        process = subprocess.Popen(  # noqa: ASYNC220 (does not wait)
            [sys.executable, "-m", "virtbridge", "--session"],
            cwd=REPOSITORY,
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/bus"},
            stderr=log,
        )
        try:
            connected, _ = await asyncio.to_thread(listener.accept)
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, TIMEOUT_S) == 0
        finally:
            process.kill()
            process.wait()
        connected.close()
        log.seek(0)
        assert log.read() == ""


async def test_a_bus_that_hangs_does_not_hold_up_the_end(bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    bus.pause()
    try:
        await daemon.stop(TIMEOUT_S)
    finally:
        bus.resume()


async def test_closed_standard_streams_are_nobody_s_sockets(bus: BusDaemon) -> None:
    closing = f"exec {sys.executable} -m virtbridge --session --connect t=test:///default <&- >&- 2>&-"
    process = subprocess.Popen(  # noqa: ASYNC220 (does not wait)
        ["sh", "-c", closing], cwd=REPOSITORY, env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": bus.address}
    )
    client = await Client.connect(bus.address)
    try:
        await wait_until(client.has_owner, "the name is owned", TIMEOUT_S)
        assert {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)} == {os.devnull}
    finally:
        await client.close()
        process.terminate()
        status = process.wait(TIMEOUT_S)
    assert status == 0


async def test_an_ssh_that_waits_for_its_host_does_not_stay_behind(bus: BusDaemon, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "started")
    (tmp_path / "ssh").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/started\nexec sleep 1000\n")
    (tmp_path / "ssh").chmod(0o755)
    daemon = await Daemon.start(
        bus.address,
        {"far": "qemu+ssh://lab.example/system"},
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        ready=False,
    )
    pid = int(await asyncio.wait_for(asyncio.to_thread((tmp_path / "started").read_text), TIMEOUT_S))
    with os.fdopen(os.pidfd_open(pid)) as ssh:
        await daemon.stop()
        ended, _, _ = select.select([ssh], [], [], TIMEOUT_S)
    assert ended


async def test_a_reload_brings_back_what_a_client_closed(bus: BusDaemon, tmp_path: Path) -> None:
    """And leaves alone what a client opened by the name of one that is in the configuration since."""
    config = tmp_path / "virtbridge.toml"
    config.write_text('[connections.a]\nuri = "test:///default"\n')
    daemon = await Daemon.start(bus.address, {}, args=["--config", str(config)])
    client = await Client.connect(bus.address)
    manager = "org.virtbridge1.Manager"
    await client.call(
        ROOT, manager, "OpenConnection", "ssa{sv}", ["mine", "test+tcp://127.0.0.1:1/default", {}]
    )

    async def reload(text: str, count: int) -> None:
        config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: daemon.log().count("reloaded") == count, "it is reloaded")

    await client.call(ROOT, manager, "CloseConnection", "oa{sv}", [f"{ROOT}/a", {}])
    await reload('[connections.a]\nuri = "test:///default"\n[connections.mine]\nuri = "xen:///system"\n', 1)
    await daemon.wait_state(client, "a", "ready")
    assert "connection not opened conn=mine" in daemon.log()
    await reload("", 2)
    assert await client.get(ROOT, manager, "Connections") == [f"{ROOT}/mine"]
    assert await client.get(f"{ROOT}/mine", CONNECTION, "Uri") == "test+tcp://127.0.0.1:1/default"
    await client.close()
    await daemon.stop()


async def test_the_configuration_that_was_read_last_is_used(bus: BusDaemon, tmp_path: Path) -> None:
    config = tmp_path / "virtbridge.toml"
    config.write_text("")
    daemon = await Daemon.start(bus.address, {}, args=["--config", str(config)])
    client = await Client.connect(bus.address)
    config.unlink()
    os.mkfifo(config)  # reading it takes as long as we like
    daemon.process.send_signal(signal.SIGHUP)
    with await asyncio.wait_for(asyncio.to_thread(config.open, "w"), TIMEOUT_S) as slow:
        (tmp_path / "new").write_text('[connections.new]\nuri = "test:///default"\n')
        (tmp_path / "new").rename(config)
        daemon.process.send_signal(signal.SIGHUP)
        for _ in range(20):  # time for a second one, were it to come first
            await client.get(ROOT, "org.virtbridge1.Manager", "Version")
        slow.write('[connections.old]\nuri = "test:///default"\n')
    await wait_until(lambda: daemon.log().count("reloaded") == 2, "it is reloaded twice")
    assert await client.get(ROOT, "org.virtbridge1.Manager", "Connections") == [f"{ROOT}/new"]
    await client.close()
    await daemon.stop()


def _told(systemd: socket.socket, start: bytes) -> str:
    """The next message that starts like this."""
    while not (message := systemd.recv(4096)).startswith(start):
        pass
    return message.decode()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens at NOTIFY_SOCKET, tmp_path / "notify"."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(TIMEOUT_S)
        yield listening


def _all_told(systemd: socket.socket) -> list[str]:
    """What has been said until now."""
    told = []
    systemd.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            told.append(systemd.recv(4096).decode().partition("\n")[0])
    return told


async def test_systemd_hears_that_it_is_ready_well_and_stopping(
    bus: BusDaemon, systemd: socket.socket, tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
    daemon = await Daemon.start(bus.address, {"a": "test:///default"}, env=environment)
    second = await asyncio.to_thread(run, "--session", DBUS_SESSION_BUS_ADDRESS=bus.address, **environment)
    assert second.returncode == 1
    await daemon.stop()
    told = _all_told(systemd)
    assert told.count("READY=1") == 1  # not of the second, which has no name
    assert "WATCHDOG=1" in told
    assert told[-1] == "STOPPING=1"


_STANDING = """
import time, libvirt
libvirt.virEventRunDefaultImpl = lambda: time.sleep(600)
from virtbridge.__main__ import main
main()
"""


@pytest.mark.parametrize("turns", [True, False])
async def test_the_watchdog_is_fed_while_libvirt_s_loop_turns(
    bus: BusDaemon, systemd: socket.socket, tmp_path: Path, turns: bool
) -> None:
    """Also by one that is shorter than the loop's usual beat."""
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
    command = ("-m", "virtbridge") if turns else ("-c", _STANDING)
    daemon = await Daemon.start(bus.address, {}, env=environment, command=command)
    if turns:
        for _ in range(30):
            await asyncio.to_thread(_told, systemd, b"WATCHDOG=1")
        await daemon.stop()
    else:
        await asyncio.sleep(1)
        _all_told(systemd)
        await asyncio.sleep(1)
        assert _all_told(systemd) == []
        daemon.kill()


async def test_systemd_hears_the_last_state_however_late_it_reads(
    bus: BusDaemon, systemd: socket.socket, tmp_path: Path
) -> None:
    many = {f"c{number}": "test:///default" for number in range(20)}
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    daemon = await Daemon.start(bus.address, many, env=environment)
    await asyncio.to_thread(_told, systemd, b"READY=1")
    await asyncio.to_thread(_told, systemd, b"STATUS=20 ready")
    await daemon.stop()


async def _reloadable(bus: BusDaemon, tmp_path: Path) -> tuple[Daemon, Path]:
    """A daemon that notifies the systemd in tmp_path, and its configuration file."""
    config = tmp_path / "virtbridge.toml"
    config.write_text("")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    return await Daemon.start(bus.address, {}, args=["--config", str(config)], env=environment), config


async def test_a_reload_is_over_before_the_end_is_told(
    bus: BusDaemon, systemd: socket.socket, tmp_path: Path
) -> None:
    daemon, _ = await _reloadable(bus, tmp_path)
    await asyncio.to_thread(_told, systemd, b"READY=1")
    daemon.process.send_signal(signal.SIGHUP)
    await daemon.stop()
    assert _all_told(systemd)[-1] == "STOPPING=1"


async def test_what_is_read_at_the_next_start_only_is_said_while_it_differs(
    bus: BusDaemon, tmp_path: Path
) -> None:
    config = tmp_path / "virtbridge.toml"
    config.write_text("")
    daemon = await Daemon.start(bus.address, {}, args=["--config", str(config)])

    async def reload(text: str, count: int) -> int:
        config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: daemon.log().count("reloaded") == count, "it is reloaded")
        return daemon.log().count("at the next start")

    assert await reload("[limits]\nqueries = 2\n", 1) == 1
    assert await reload("[limits]\nqueries = 2\n", 2) == 2
    assert await reload("", 3) == 2
    await daemon.stop()


async def test_a_configuration_that_cannot_be_read_to_its_end_does_not_hold_up_ours(
    bus: BusDaemon, systemd: socket.socket, tmp_path: Path
) -> None:
    daemon, config = await _reloadable(bus, tmp_path)
    config.unlink()
    os.mkfifo(config)  # as good as a file on a server that does not answer
    daemon.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(_told, systemd, b"RELOADING=1")
    await daemon.stop(TIMEOUT_S)


async def test_a_reload_says_each_mistake_and_the_status_stays_in_words(
    bus: BusDaemon, tmp_path: Path
) -> None:
    config = tmp_path / "virtbridge.toml"
    config.write_text('[connections.a]\nuri = "test:///default"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(TIMEOUT_S)
        daemon = await Daemon.start(
            bus.address, {}, args=["--config", str(config)], env={"NOTIFY_SOCKET": str(tmp_path / "notify")}
        )
        client = await Client.connect(bus.address)
        await daemon.wait_state(client, "a", "ready")
        config.write_text("x = 1\ny = 2\n")
        daemon.process.send_signal(signal.SIGHUP)

        def told() -> str:
            while not systemd.recv(4096).startswith(b"RELOADING=1"):
                pass
            return systemd.recv(4096).decode()

        assert await asyncio.to_thread(told) == "READY=1\nSTATUS=1 ready"
        mistakes = [line for line in daemon.log().splitlines() if "stays as it was" in line]
        assert [line.partition(f"{config}:")[2][:5] for line in mistakes] == ["1: x:", "2: y:"]
        await client.close()
        await daemon.stop()


@pytest.fixture
def guarded_bus() -> Iterator[BusDaemon]:
    """A system bus with the policy that we install."""
    with dbus_daemon(system=True, policies=[REPOSITORY / "dbus" / "org.virtbridge1.conf"]) as running:
        yield running


async def test_on_the_system_bus_others_may_read_and_only_root_may_write(guarded_bus: BusDaemon) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else as well")
    environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": guarded_bus.address}
    process = subprocess.Popen(  # noqa: ASYNC220 (does not wait)
        [sys.executable, "-m", "virtbridge", "--connect", "test=test:///default"],
        cwd=REPOSITORY,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        client = await Client.connect(guarded_bus.address)

        async def ready() -> bool:
            assert process.poll() is None
            try:
                return bool(await client.get(f"{ROOT}/test", CONNECTION, "State") == "ready")
            except CallFailed:
                return False

        await wait_until(ready, "the connection is ready", TIMEOUT_S)
        [domain] = await client.call(f"{ROOT}/test", CONNECTION, "List", "sa{sv}", ["domain", {}])

        def as_nobody(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["busctl", f"--address={guarded_bus.address}", *words],
                user="nobody", capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            )  # fmt: skip

        service, interface = "org.virtbridge1", "org.virtbridge1.Domain"
        assert as_nobody("get-property", service, domain, interface, "State").stdout == 's "running"\n'
        assert as_nobody("call", service, domain, interface, "GetXml", "a{sv}", "0").returncode == 0
        for refused in (
            ("set-property", service, domain, interface, "Autostart", "b", "true"),
            ("call", service, domain, interface, "GetXml", "a{sv}", "1", "secure", "b", "true"),
            (
                "call",
                service,
                ROOT,
                "org.virtbridge1.Manager",
                "OpenConnection",
                "ssa{sv}",
                "x",
                "test:///default",
                "0",
            ),
        ):
            answer = await asyncio.to_thread(as_nobody, *refused)
            assert (answer.returncode, "only root" in answer.stderr) == (1, True), answer
        assert await client.get(domain, interface, "Autostart") is False
        value = client.variant("b", True)
        await client.call(
            domain, "org.freedesktop.DBus.Properties", "Set", "ssv", [interface, "Autostart", value]
        )
        assert await client.get(domain, interface, "Autostart") is True
        await client.close()
    finally:
        process.terminate()
        status = process.wait(TIMEOUT_S)
    assert status == 0


async def test_a_call_that_never_began_is_answered_when_the_daemon_ends(bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"}, args=["--config", "/dev/null"])
    client = await Client.connect(bus.address)
    [domain] = await client.call(f"{ROOT}/test", CONNECTION, "List", "sa{sv}", ["domain", {}])
    inactive = {"inactive": client.variant("b", True)}
    calls = [
        asyncio.create_task(client.call(domain, "org.virtbridge1.Domain", "GetXml", "a{sv}", [inactive]))
        for _ in range(200)
    ]
    await asyncio.sleep(0)
    await daemon.stop()
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, str | CallFailed), answer
    await client.close()


async def test_a_refresh_before_the_first_sync_says_that_there_is_no_connection(bus: BusDaemon) -> None:
    nowhere = "test+unix:///default?socket=/nonexistent/socket"
    daemon = await Daemon.start(bus.address, {"far": nowhere}, ready=False)
    client = await Client.connect(bus.address)
    with pytest.raises(CallFailed, match="NotConnected"):
        await client.call(f"{ROOT}/far", CONNECTION, "Refresh", "asa{sv}", [[], {}])
    await client.close()
    await daemon.stop()


async def test_what_a_call_has_changed_is_told_before_it_is_answered() -> None:
    with dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, {"a": "test:///default"})
        client = await Client.connect(bus.address)
        heard = await client.signals()
        (path,) = await client.call(f"{ROOT}/a", CONNECTION, "List", "sa{sv}", ["domain", {}])
        domain = f"{SERVICE}.Domain"
        yes = client.variant("b", True)
        await client.call(path, PROPERTIES, "Set", "ssv", [domain, "Autostart", yes])
        assert ("PropertiesChanged", {"Autostart": True}) in [(s.member, s.args[1]) for s in heard.drain()]
        opened = await client.call(
            ROOT, f"{SERVICE}.Manager", "OpenConnection", "ssa{sv}", ["b", "test:///default", {}]
        )
        assert ("InterfacesAdded", opened) in [(s.member, s.args[0]) for s in heard.drain()]
        await client.call(ROOT, f"{SERVICE}.Manager", "CloseConnection", "oa{sv}", [opened, {}])
        assert ("InterfacesRemoved", opened) in [(s.member, s.args[0]) for s in heard.drain()]
        synced = await client.get(f"{ROOT}/a", CONNECTION, "LastSync")
        await client.call(f"{ROOT}/a", CONNECTION, "Refresh", "asa{sv}", [["network"], {}])
        assert await client.get(f"{ROOT}/a", CONNECTION, "LastSync") == synced  # not everything was compared
        await client.call(f"{ROOT}/a", CONNECTION, "Refresh", "asa{sv}", [[], {}])
        assert await client.get(f"{ROOT}/a", CONNECTION, "LastSync") > synced
        await client.close()
        await daemon.stop()

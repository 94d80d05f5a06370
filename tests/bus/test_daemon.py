"""The daemon from outside: starting, reloading, ending, and who may do what on the system bus."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import ROOT, CallFailed, Client, wait_until
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

"""List of a kind whose reading fails: libvirt is asked, each asker gets its error, what was known stays."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import libvirt
import pytest

from tests.bus.test_demand import CONNECTION, HOST
from tests.support.client import SERVICE, Client, error_of, wait_until
from tests.support.costs import calls, spent
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon

# In the daemon: a listing fails as long as there is a file of its name.
_BREAKABLE = f"""
import sys
from pathlib import Path
import libvirt
from virtbridge.__main__ import main

def breakable(name):
    real = getattr(libvirt.virConnect, name)
    def method(self, *args):
        if (Path({{place!r}}) / name).exists():
            error = libvirt.libvirtError("broken")
            error.err = ({libvirt.VIR_ERR_OPERATION_FAILED}, 0, "broken", 2, "", None, None, -1, -1)
            raise error
        return real(self, *args)
    setattr(libvirt.virConnect, name, method)

for name in {{names!r}}:
    breakable(name)
sys.exit(main())
"""
LISTINGS = ("listAllInterfaces", "listAllNetworks", "listAllDomains")
ETH1 = f"{HOST}/interface/eth1"


class Broken:
    def __init__(self, place: Path) -> None:
        self._place = place

    def fail(self, name: str) -> None:
        (self._place / name).touch()

    def mend(self, name: str) -> None:
        (self._place / name).unlink()


@asynccontextmanager
async def breakable(place: Path, broken: str = "", *, events: bool = True) -> AsyncIterator[Client]:
    if broken:
        (place / broken).touch()
    config = place / "virtbridge.toml"
    config.write_text(f"[connections.host]\nuri = 'test:///default'\nevents = {str(events).lower()}\n")
    code = _BREAKABLE.format(place=str(place), names=LISTINGS)
    with dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, {}, command=["-c", code], args=["--config", str(config)])
        client = await Client.connect(bus.address)
        await daemon.wait_state(client, "host", "ready")
        try:
            yield client
        finally:
            await client.close()
            await daemon.stop()


async def listed(client: Client, kind: str) -> list[str]:
    anew = {"max-age": client.variant("t", 0)}
    return list(await client.call(HOST, CONNECTION, "List", "sa{sv}", [kind, anew]))


async def refused(client: Client, kind: str, listing: str) -> None:
    """Twice, and libvirt was asked each time."""
    before = await calls(client)
    anew = {"max-age": client.variant("t", 0)}
    for _ in range(2):
        error = await error_of(client, HOST, CONNECTION, "List", "sa{sv}", [kind, anew])
        assert error == "OperationFailed"
    assert spent(before, await calls(client))[listing] >= 2


async def last_error(client: Client) -> tuple[str, str]:
    name, text = await client.get(HOST, CONNECTION, "LastError")
    return name.removeprefix(f"{SERVICE}.Error."), text


async def test_a_kind_that_is_read_on_demand(tmp_path: Path) -> None:
    async with breakable(tmp_path) as client:
        broken = Broken(tmp_path)
        assert await listed(client, "interface") == [ETH1]
        known = await client.get_all(ETH1, f"{SERVICE}.Interface")
        broken.fail("listAllInterfaces")
        await refused(client, "interface", "listAllInterfaces")
        assert await client.get_all(ETH1, f"{SERVICE}.Interface") == known | {"Stale": True}
        assert await last_error(client) == ("", "")  # it is the asker who has to know
        broken.mend("listAllInterfaces")
        assert await listed(client, "interface") == [ETH1]
        assert not await client.get(ETH1, f"{SERVICE}.Interface", "Stale")


async def test_a_kind_that_failed_from_the_start(tmp_path: Path) -> None:
    async with breakable(tmp_path, "listAllNetworks") as client:
        assert "network" in await client.get(HOST, CONNECTION, "DemandKinds")
        await refused(client, "network", "listAllNetworks")
        assert await last_error(client) == ("OperationFailed", "network: broken")
        Broken(tmp_path).mend("listAllNetworks")
        [network] = await listed(client, "network")
        assert await client.get(network, f"{SERVICE}.Network", "Name") == "default"
        assert await last_error(client) == ("", "")
        assert "network" in await client.get(HOST, CONNECTION, "EventKinds")


@pytest.mark.parametrize("events", [True, False])
async def test_a_kind_that_fails_later_with_events_and_without(tmp_path: Path, events: bool) -> None:
    """Such objects have no Stale; the connection's LastError shows it."""
    async with breakable(tmp_path, events=events) as client:
        broken = Broken(tmp_path)
        [domain] = await listed(client, "domain")
        broken.fail("listAllDomains")
        await refused(client, "domain", "listAllDomains")
        assert await client.get(domain, f"{SERVICE}.Domain", "Name") == "test"
        assert await last_error(client) == ("OperationFailed", "domain: broken")
        broken.mend("listAllDomains")
        assert await listed(client, "domain") == [domain]

        async def is_well() -> bool:
            return await last_error(client) == ("", "")

        await wait_until(is_well, "LastError is empty")

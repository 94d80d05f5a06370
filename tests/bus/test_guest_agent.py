"""What a guest's agent reports, over a real bus: real libvirt, real QEMU, and an agent played by the test."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import libvirt
import pytest
import pytest_asyncio

from tests.bus.test_demand import DOMAIN, HOST
from tests.support.client import Client, error_of, wait_until
from tests.support.costs import calls, spent
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.guest_agent import GuestAgent
from tests.support.libvirtd import Libvirtd, is_available, start_qemu

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root"),
]

# In the shapes of qemu-ga's protocol: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
ANSWERS = {
    "guest-get-host-name": {"host-name": "wëb"},
    "guest-get-timezone": {"zone": "CET", "offset": 3600},
    "guest-get-osinfo": {"id": "debian", "pretty-name": "Debian GNU/Linux 12", "version-id": "12"},
    "guest-get-users": [{"user": "root", "login-time": 1_700_000_000.5, "domain": "lab"}],
    "guest-get-fsinfo": [
        {
            "name": "vda1",
            "mountpoint": "/",
            "type": "ext4",
            "used-bytes": 1 << 33,
            "total-bytes": 1 << 34,
            "disk": [],
        }
    ],
    "guest-network-get-interfaces": [
        {
            "name": "lo",
            "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}],
        },
        {
            "name": "enp1s0",
            "hardware-address": "52:54:00:AA:BB:CC",
            "ip-addresses": [
                {"ip-address-type": "ipv4", "ip-address": "192.0.2.7", "prefix": 24},
                {"ip-address-type": "ipv6", "ip-address": "2001:db8::7", "prefix": 64},
            ],
        },
    ],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(host: Libvirtd) -> AsyncIterator[Client]:
    with dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, {"host": host.qemu_uri})
        connected = await Client.connect(bus.address)
        yield connected
        await connected.close()
        await daemon.stop()


@pytest.fixture
def agent(host: Libvirtd) -> Iterator[GuestAgent]:
    with GuestAgent(host.folder, ANSWERS) as playing:
        yield playing


@pytest_asyncio.fixture(loop_scope="module")
async def path(host: Libvirtd, client: Client, agent: GuestAgent) -> AsyncIterator[str]:
    """Start a domain, and return its path once its agent is connected."""
    conn = libvirt.open(host.qemu_uri)
    domain = start_qemu(conn, "talks", devices=agent.devices)
    at = f"{HOST}/domain/_{domain.UUIDString().replace('-', '_')}"

    async def connected() -> bool:
        objects = await client.managed_objects()
        return bool(at in objects and objects[at][DOMAIN]["AgentConnected"])

    await wait_until(connected, "the agent is connected")
    yield at
    domain.destroy()
    domain.undefine()
    del domain
    conn.close()


async def ask(client: Client, path: str, member: str, **options: tuple[str, Any]) -> Any:
    made = {name.replace("_", "-"): client.variant(*value) for name, value in options.items()}
    return await client.call(path, DOMAIN, member, "a{sv}", [made])


async def test_addresses(client: Client, path: str) -> None:
    assert await ask(client, path, "GetInterfaceAddresses", source=("s", "agent")) == [
        {"name": "lo", "addresses": [{"type": "ipv4", "address": "127.0.0.1", "prefix": 8}]},
        {
            "name": "enp1s0",
            "mac": "52:54:00:aa:bb:cc",
            "addresses": [
                {"type": "ipv4", "address": "192.0.2.7", "prefix": 24},
                {"type": "ipv6", "address": "2001:db8::7", "prefix": 64},
            ],
        },
    ]


async def test_guest_info(client: Client, path: str, agent: GuestAgent) -> None:
    types = ["users", "os", "timezone", "hostname", "filesystem", "interfaces"]
    info = await ask(client, path, "GetGuestInfo", types=("as", types))
    assert (info["hostname"], info["timezone.name"], info["timezone.offset"]) == ("wëb", "CET", 3600)
    assert (info["os.id"], info["os.pretty-name"]) == ("debian", "Debian GNU/Linux 12")
    user = [info[f"user.{name}"] for name in ("count", "0.name", "0.domain", "0.login-time")]
    assert user == [1, "root", "lab", 1_700_000_000_500]
    fs = [info[f"fs.{name}"] for name in ("count", "0.mountpoint", "0.fstype", "0.total-bytes")]
    assert fs == [1, "/", "ext4", 1 << 34]
    before = await calls(client)
    assert await ask(client, path, "GetGuestInfo", types=("as", types), max_age=("t", 60_000)) == info
    assert spent(before, await calls(client)) == {}
    assert sorted(set(agent.asked)) == sorted(ANSWERS)
    everything = await ask(client, path, "GetGuestInfo")  # the agent has no disks to tell of
    assert everything.keys() >= info.keys()


async def test_an_agent_that_cannot_answer(client: Client, path: str, agent: GuestAgent) -> None:
    agent.answers.clear()
    timezone = {"types": client.variant("as", ["timezone"])}
    assert await error_of(client, path, DOMAIN, "GetGuestInfo", "a{sv}", [timezone]) == "Libvirt"
    source = {"source": client.variant("s", "agent")}
    assert await error_of(client, path, DOMAIN, "GetInterfaceAddresses", "a{sv}", [source]) == "Libvirt"

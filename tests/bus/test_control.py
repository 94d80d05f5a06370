"""Operations on libvirt's test driver, as clients call them: the effect is on the bus before the reply."""

from typing import Any

import pytest

from tests.support.client import Client, error_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "/org/virtbridge1/lab"
DOMAIN, CONNECTION = "org.virtbridge1.Domain", "org.virtbridge1.Connection"
XML = """<domain type='test'><name>made</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
<memory>{}</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"""


async def define(client: Client, memory: int = 65536) -> str:
    return str(await client.call(LAB, CONNECTION, "DefineDomain", "sa{sv}", [XML.format(memory), {}]))


async def test_the_life_of_a_domain(client: Client) -> None:
    async def do(member: str, signature: str = "a{sv}", *values: Any) -> None:
        await client.call(path, DOMAIN, member, signature, [*values, {}])

    async def has(name: str) -> Any:
        return await client.get(path, DOMAIN, name)

    path = await define(client)
    assert await has("Name") == "made"
    assert await has("Active") is False
    assert await has("MemoryMaximum") == 65536 * 1024
    assert await define(client, 131072) == path
    assert await has("MemoryMaximum") == 131072 * 1024
    refused = await error_of(client, LAB, CONNECTION, "DefineDomain", "sa{sv}", ["<domain>", {}])
    assert refused == "InvalidXml"
    assert await has("MemoryMaximum") == 131072 * 1024
    await do("Start")
    assert (await has("State"), await has("Active")) == ("running", True)
    await do("Suspend")
    assert await has("State") == "paused"
    await do("Resume")
    assert await has("State") == "running"
    await do("SetMetadata", "ssa{sv}", "title", "A title")
    assert await has("Title") == "A title"
    too_many = await error_of(client, path, DOMAIN, "SendKeys", "aua{sv}", [[1] * 17, {}])
    assert too_many == "LimitExceeded"
    await do("PowerOff")
    assert (await has("State"), await has("Id")) == ("shutoff", -1)
    await do("Undefine")
    gone = await error_of(client, path, DOMAIN, "Start", "a{sv}", [{}])
    assert gone == "org.freedesktop.DBus.Error.UnknownObject"


async def test_a_snapshot_is_an_object_at_once(client: Client) -> None:
    path = await define(client)
    xml = "<domainsnapshot><name>first</name></domainsnapshot>"
    made = await client.call(path, DOMAIN, "CreateSnapshot", "sa{sv}", [xml, {}])
    assert made == f"{path}/snapshot/first"
    assert await client.get(made, "org.virtbridge1.Snapshot", "Current") is True
    await client.call(made, "org.virtbridge1.Snapshot", "Delete", "a{sv}", [{}])
    assert made not in await client.managed_objects()
    await client.call(path, DOMAIN, "Undefine", "a{sv}", [{}])


async def test_a_volume_is_an_object_at_once(client: Client) -> None:
    (pool,) = [
        path for path, shown in (await client.managed_objects()).items()
        if "org.virtbridge1.StoragePool" in shown
    ][:1]  # fmt: skip
    xml = "<volume><name>disk</name><capacity>1048576</capacity></volume>"
    made = await client.call(pool, "org.virtbridge1.StoragePool", "CreateVolume", "sa{sv}", [xml, {}])
    assert made == f"{pool}/volume/disk"
    again = await error_of(client, pool, "org.virtbridge1.StoragePool", "CreateVolume", "sa{sv}", [xml, {}])
    assert again == "OperationFailed"  # what the test driver says of any volume that exists
    assert await client.get(made, "org.virtbridge1.StorageVolume", "Capacity") == 1048576
    await client.call(made, "org.virtbridge1.StorageVolume", "Delete", "a{sv}", [{}])
    assert made not in await client.managed_objects()

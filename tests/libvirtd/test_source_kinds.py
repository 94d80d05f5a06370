"""Storage pools, node devices and secrets of a libvirtd of the test's own: what their events cost and tell.

The random sequences are in test_mirror.py; here is what each step means and how many calls it takes.
"""

import asyncio
from typing import Any

import libvirt
import pytest

from tests.support.costs import spent
from tests.support.followed import Followed
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.requested import request
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key, Kind

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

XML_INACTIVE: int = libvirt.VIR_STORAGE_XML_INACTIVE
POOL = "<pool type='dir'><name>{name}</name><target><path>/var/lib/libvirt/{name}</path></target></pool>"
SECRET = (
    "<secret private='{private}'><description>{text}</description>"
    "<usage type='ceph'><name>client.lab</name></usage></secret>"
)
VPORT = (
    "<device><parent>scsi_host1</parent><capability type='scsi_host'><capability type='fc_host'>"
    "<wwnn>1000000023452345</wwnn><wwpn>2000000023452345</wwpn></capability></capability></device>"
)


async def test_a_pool_s_life_is_told_by_events(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        before = source.calls()
        pool = await asyncio.to_thread(other.storagePoolDefineXML, POOL.format(name="images"))
        key = Key("c", Kind.POOL, pool.UUIDString())

        def known() -> Any:
            return source.cache.get(key)

        await source.until(lambda: known() and known().persistent)
        assert (known().name, known().state, known().definition.capacity_bytes) == ("images", "inactive", 0)
        await asyncio.to_thread(pool.build, 0)
        await asyncio.to_thread(pool.create, 0)
        # The XML that the making of the folder leads to may be read when the pool runs, before that is heard.
        await source.until(lambda: known().definition.capacity_bytes and known().state == "running")
        assert known().definition.target_mode == "0711"
        await asyncio.to_thread(
            pool.createXML,
            "<volume><name>v</name><capacity>1000000</capacity><allocation>1000000</allocation></volume>",
        )
        await asyncio.to_thread(pool.refresh, 0)
        await source.until(lambda: known().definition.allocation_bytes >= 1_000_000)
        figures = known().definition
        assert [
            figures.capacity_bytes,
            figures.allocation_bytes,
            figures.available_bytes,
        ] == pool.info()[1:]
        await asyncio.to_thread(pool.destroy)
        await source.until(lambda: known().state == "inactive")
        await asyncio.to_thread(pool.undefine)
        await source.until(lambda: known() is None)
        assert [event for event, _ in source.lifecycles(key.id)] == [
            "defined", "created", "started", "stopped", "undefined",
        ]  # fmt: skip
        assert ("refresh", {}) in [each.args for each in source.signals if each.member == "Event"]
        # At most one reading for each of define, build, start, refresh, stop.
        cost = spent(before, source.calls())
        assert set(cost) == {"XMLDesc"}
        assert cost["XMLDesc"] <= 5


async def test_a_transient_pool_comes_and_goes(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        flags = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD
        pool = await asyncio.to_thread(other.storagePoolCreateXML, POOL.format(name="passing"), flags)
        key = Key("c", Kind.POOL, pool.UUIDString())

        def known() -> Any:
            return source.cache.get(key)

        await source.until(lambda: known() and known().active)
        assert not known().persistent
        with pytest.raises(BridgeError) as refused:
            await source.connections.operate(request(key, "set-autostart", True))
        assert refused.value.kind is ErrorKind.LIBVIRT  # "internal error: pool has no config file"
        device = next(iter(source.cache.keys(Kind.NODEDEV)))
        with pytest.raises(BridgeError) as refused:
            await source.connections.operate(request(device, "set-autostart", True))
        assert refused.value.kind is ErrorKind.NOT_SUPPORTED
        assert "<name>passing</name>" in await source.connections.operate(
            request(key, "get-xml", XML_INACTIVE)
        )
        await asyncio.to_thread(pool.destroy)
        await source.until(lambda: source.cache.get(key) is None)


async def test_autostart_of_a_pool_is_written_and_its_silent_change_found(host: Libvirtd, other: Any) -> None:
    async with Followed(audit_interval_s=0.1) as source:
        pool = await asyncio.to_thread(other.storagePoolDefineXML, POOL.format(name="auto"))
        await source.ready(host.qemu_uri)
        key = Key("c", Kind.POOL, pool.UUIDString())
        await source.connections.operate(request(key, "set-autostart", True))
        assert pool.autostart() == 1
        assert source.named(Kind.POOL, "auto").autostart
        await asyncio.to_thread(pool.setAutostart, 0)
        await source.until(lambda: not source.named(Kind.POOL, "auto").autostart)


async def test_a_secret_s_life_is_told_and_its_value_never_asked(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        secret = await asyncio.to_thread(other.secretDefineXML, SECRET.format(private="no", text="old"))
        key = Key("c", Kind.SECRET, secret.UUIDString())

        def known() -> Any:
            return source.cache.get(key)

        await source.until(known)
        definition = known().definition
        assert (definition.usage_type, definition.usage_id) == ("ceph", "client.lab")
        assert (definition.description, definition.private, known().name) == ("old", False, "client.lab")
        before = source.calls()
        await asyncio.to_thread(secret.setValue, b"open sesame")
        await source.until(lambda: ("value-changed", {}) in [each.args for each in source.signals])
        assert spent(before, source.calls()) == {}
        xml = SECRET.format(private="no", text="new").replace(
            "<description>", f"<uuid>{key.id}</uuid><description>"
        )
        await asyncio.to_thread(other.secretDefineXML, xml)
        await source.until(lambda: known().definition.description == "new")
        await source.connections.refresh("c", frozenset({Kind.SECRET}))
        assert "sesame" not in known().xml
        assert "value" not in source.calls()
        await asyncio.to_thread(secret.undefine)
        await source.until(lambda: known() is None)
        assert [event for event, _ in source.lifecycles(key.id)] == ["defined", "defined", "undefined"]


async def test_the_devices_of_a_real_host(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        expected = {device.name(): device for device in await asyncio.to_thread(other.listAllDevices)}
        known: dict[str, Any] = {key.id: record for key, record in source.cache.records(Kind.NODEDEV)}
        assert known.keys() == expected.keys()
        for name, device in expected.items():
            record = known[name]
            assert record.xml == device.XMLDesc(0)
            assert record.active
            assert record.definition.parent == (device.parent() or "")
            assert set(device.listCaps()) <= set(record.definition.capabilities)
            assert [each.type for each in record.definition.details] == [record.definition.capabilities[0]]
        assert known["computer"].definition.details[0].type == "system"
        loopback = next(each for each in known.values() if each.name.startswith("net_lo_"))
        assert loopback.definition.details[0].interface == "lo"


async def test_a_device_made_and_destroyed_by_another_client(host: Libvirtd) -> None:
    """The test driver's, behind real RPC."""
    other = libvirt.open(host.uri())
    async with Followed() as source:
        await source.ready(host.uri())
        before = source.calls()
        device = await asyncio.to_thread(other.nodeDeviceCreateXML, VPORT, 0)
        name = device.name()
        await source.until(lambda: source.named(Kind.NODEDEV, name))
        known = source.named(Kind.NODEDEV, name)
        assert (known.active, known.definition.parent) == (True, "scsi_host1")
        assert known.definition.details[0].wwpn == "2000000023452345"
        assert spent(before, source.calls()) == {"XMLDesc": 1}
        await asyncio.to_thread(device.destroy)
        await source.until(lambda: source.named(Kind.NODEDEV, name) is None)
        assert [event for event, _ in source.lifecycles(name)] == ["created", "deleted"]
        assert source.connection().event_kinds == ("domain", "network", "nodedev", "pool")
    other.close()


async def test_everything_is_there_again_after_libvirtd_s_end(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        pool = await asyncio.to_thread(other.storagePoolDefineXML, POOL.format(name="kept"))
        secret = await asyncio.to_thread(other.secretDefineXML, SECRET.format(private="yes", text=""))
        keys = [Key("c", Kind.POOL, pool.UUIDString()), Key("c", Kind.SECRET, secret.UUIDString())]
        await source.until(lambda: all(map(source.cache.get, keys)))
        devices = set(source.cache.keys(Kind.NODEDEV))
        source.puts.clear()
        host.kill()
        await source.until_state("disconnected")
        assert all(map(source.cache.get, keys))
        host.start()
        await source.until_state("ready")
        assert all(map(source.cache.get, keys))
        assert set(source.cache.keys(Kind.NODEDEV)) == devices
        assert [key for key in source.puts if key.kind is not Kind.CONNECTION] == []

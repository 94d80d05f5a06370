"""What another libvirt client does to a host's storage pools, secrets and node devices: more operations for
OtherClient.

Pools of the real storage driver are directories below one that is private to the libvirtd of the test.
"""

from collections.abc import Callable
from uuid import uuid4

import libvirt

from tests.support.changes import Act, Operation, OtherClient

_FOLDER = "/var/lib/libvirt/pools"
_ON, _OFF = libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE
_KEPT = libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT
_MOST = 5


def _pool_xml(name: str, uuid: str = "") -> str:
    mode = "0711" if uuid else "0755"
    return (
        f"<pool type='dir'><name>{name}</name><uuid>{uuid or uuid4()}</uuid><target>"
        f"<path>{_FOLDER}/{name}</path><permissions><mode>{mode}</mode></permissions></target></pool>"
    )


def _on_pool(do: Callable[[libvirt.virStoragePool], object], *flags: int) -> Act:
    def act(other: OtherClient) -> str | None:
        found = sorted(other.conn.listAllStoragePools(sum(flags)), key=lambda pool: str(pool.UUIDString()))
        if not found:
            return None
        pool = other.rng.choice(found)
        try:
            do(pool)
        except libvirt.libvirtError as error:  # a directory that is missing, or not empty; not a lost host
            if error.get_error_code() != libvirt.VIR_ERR_SYSTEM_ERROR:
                raise
            return f"{pool.name()} (failed)"
        return str(pool.name())

    return act


def _define_pool(other: OtherClient) -> str | None:
    if len(other.conn.listAllStoragePools()) >= _MOST:
        return None
    name = other.new_name()
    other.conn.storagePoolDefineXML(_pool_xml(name))
    return name


def _create_pool(other: OtherClient) -> str | None:
    """A transient one."""
    if len(other.conn.listAllStoragePools()) >= _MOST:
        return None
    name = other.new_name()
    flags = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD if other.world.emulator else 0
    other.conn.storagePoolCreateXML(_pool_xml(name), flags)
    return name


def _redefine_pool(pool: libvirt.virStoragePool) -> None:
    pool.connect().storagePoolDefineXML(_pool_xml(pool.name(), pool.UUIDString()))


def _add_volume(pool: libvirt.virStoragePool) -> None:
    name = f"v{len(pool.listVolumes())}"
    pool.createXML(f"<volume><name>{name}</name><capacity>65536</capacity></volume>", 0)


def _on_secret(do: Callable[[libvirt.virSecret], object]) -> Act:
    def act(other: OtherClient) -> str | None:
        found = sorted(other.conn.listAllSecrets(), key=lambda secret: str(secret.UUIDString()))
        if not found:
            return None
        secret = other.rng.choice(found)
        do(secret)
        return str(secret.UUIDString())

    return act


def _define_secret(other: OtherClient) -> str | None:
    if len(other.conn.listAllSecrets()) >= _MOST:
        return None
    name = other.new_name()
    kind, holder = other.rng.choice(
        (("volume", "volume"), ("ceph", "name"), ("iscsi", "target"), ("tls", "name"))
    )
    usage = f"<usage type='{kind}'><{holder}>/{name}</{holder}></usage>" if other.rng.random() < 0.8 else ""
    other.conn.secretDefineXML(f"<secret ephemeral='{other.rng.choice(('yes', 'no'))}'>{usage}</secret>")
    return name


def _redefine_secret(secret: libvirt.virSecret) -> None:
    xml = str(secret.XMLDesc(0))
    new = f"<description>{uuid4()}</description>"
    if "<description>" in xml:
        before, _, rest = xml.partition("<description>")
        xml = before + new + rest.partition("</description>")[2]
    else:
        xml = xml.replace("</uuid>", f"</uuid>{new}")
    secret.connect().secretDefineXML(xml)


_VPORT = (
    "<device><parent>scsi_host1</parent><capability type='scsi_host'><capability type='fc_host'>"
    "<wwnn>10000000{number:08x}</wwnn><wwpn>20000000{number:08x}</wwpn></capability></capability></device>"
)


def _create_device(other: OtherClient) -> str | None:
    if len(other.conn.listAllDevices()) > _MOST:
        return None
    number = other.rng.randrange(1 << 32)
    return str(other.conn.nodeDeviceCreateXML(_VPORT.format(number=number), 0).name())


def _destroy_device(other: OtherClient) -> str | None:
    found = sorted(device.name() for device in other.conn.listAllDevices())
    mine = [name for name in found if name.startswith("scsi_host") and len(name) > len("scsi_host1")]
    if not mine:
        return None
    name = str(other.rng.choice(mine))
    other.conn.nodeDeviceLookupByName(name).destroy()
    return name


HOST_OPERATIONS: tuple[Operation, ...] = (
    Operation("pool-define", _define_pool, weight=4),
    Operation("pool-create-transient", _create_pool),
    Operation("pool-redefine", _on_pool(_redefine_pool, _KEPT)),
    Operation("pool-build", _on_pool(lambda pool: pool.build(0), _OFF), weight=4),
    Operation("pool-start", _on_pool(lambda pool: pool.create(0), _OFF), weight=5),
    Operation("pool-refresh", _on_pool(lambda pool: pool.refresh(0), _ON), weight=3),
    Operation("pool-stop", _on_pool(lambda pool: pool.destroy(), _ON)),
    Operation("pool-delete", _on_pool(lambda pool: pool.delete(0), _OFF), weight=1),
    Operation("pool-undefine", _on_pool(lambda pool: pool.undefine(), _OFF), weight=1),
    Operation("pool-autostart", _on_pool(lambda p: p.setAutostart(not p.autostart()), _KEPT), silent=True),
    # libvirt counts it in the pool's figures and says nothing.
    Operation("volume-create", _on_pool(_add_volume, _ON), silent=True, only="qemu"),
    Operation("secret-define", _define_secret, weight=4, only="qemu"),
    Operation("secret-redefine", _on_secret(_redefine_secret), only="qemu"),
    Operation("secret-value", _on_secret(lambda secret: secret.setValue(b"x")), only="qemu"),
    Operation("secret-undefine", _on_secret(lambda secret: secret.undefine()), only="qemu"),
    Operation("device-create", _create_device, weight=4, only="test"),
    Operation("device-destroy", _destroy_device, weight=3, only="test"),
)

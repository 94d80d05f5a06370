"""Domain definitions: what libvirt's XML says about one domain.

The device dataclasses are the contract's dictionaries: their fields, in order, are the keys that
dbus/org.virtbridge1.Domain.xml documents, with `_` for `-`. A str is empty and an int is 0 when absent, an
int is never negative. Pure: no parsing here (domain_xml does that), no I/O.
Source: libvirt domain XML, https://libvirt.org/formatdomain.html
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disk:
    """source: never set for a volume (pool and volume are). backing, data_store, mirror: as
    disk_sources.source_text() writes them. address, namespace: of an NVMe controller of the host.
    slice_offset, slice_size: bytes.
    """

    device: str = ""
    type: str = ""
    target: str = ""
    bus: str = ""
    source: str = ""
    protocol: str = ""
    hosts: tuple[str, ...] = ()
    query: str = ""
    snapshot: str = ""
    config: str = ""
    user: str = ""
    group: str = ""
    initiator: str = ""
    pool: str = ""
    volume: str = ""
    mode: str = ""
    address: str = ""
    namespace: int = 0
    slice_offset: int = 0
    slice_size: int = 0
    format: str = ""
    cache: str = ""
    serial: str = ""
    wwn: str = ""
    alias: str = ""
    boot_order: int = 0
    read_only: bool = False
    shareable: bool = False
    transient: bool = False
    tray_open: bool = False
    removable: bool = False
    data_store: str = ""
    mirror: str = ""
    backing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interface:
    """mac: lower case. address: of the host's PCI device, as in 0000:03:00.0; vendor, product, bus, device,
    port: of the host's USB device, as with HostDevice.
    """

    type: str = ""
    mac: str = ""
    model: str = ""
    target: str = ""
    alias: str = ""
    source: str = ""
    network: str = ""
    port_group: str = ""
    port_id: str = ""
    bridge: str = ""
    mode: str = ""
    local: str = ""
    port_group_id: str = ""
    connection_id: str = ""
    address: str = ""
    vendor: str = ""
    product: str = ""
    bus: int = 0
    device: int = 0
    port: str = ""
    link_down: bool = False
    boot_order: int = 0
    mtu: int = 0
    filter: str = ""
    vlans: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graphics:
    """Never a password, though libvirt would give one with VIR_DOMAIN_XML_SECURE."""

    type: str = ""
    listen_type: str = ""
    address: str = ""
    network: str = ""
    port: int = 0
    tls_port: int = 0
    websocket: int = 0
    socket: str = ""
    autoport: bool = False
    display: str = ""
    keymap: str = ""


@dataclass(frozen=True, slots=True)
class HostDevice:
    """source: what identifies the device in one string; each part of it has a field of its own, by the
    device's type. vendor, product: as in 0x046d. bus: of USB or SCSI.
    """

    mode: str = ""
    type: str = ""
    managed: bool = False
    source: str = ""
    address: str = ""
    vendor: str = ""
    product: str = ""
    bus: int = 0
    device: int = 0
    port: str = ""
    adapter: str = ""
    target: int = 0
    unit: int = 0
    protocol: str = ""
    name: str = ""
    hosts: tuple[str, ...] = ()
    initiator: str = ""
    wwpn: str = ""
    uuid: str = ""
    block: str = ""
    char: str = ""
    interface: str = ""
    model: str = ""
    alias: str = ""
    boot_order: int = 0


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A directory, image or memory of the host that the guest can mount."""

    type: str = ""
    driver: str = ""
    access_mode: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    alias: str = ""


@dataclass(frozen=True, slots=True)
class DomainDefinition:
    """memory_*_bytes: whatever unit the XML used. Devices are in the XML's order."""

    title: str = ""
    description: str = ""
    type: str = ""
    os_type: str = ""
    arch: str = ""
    machine: str = ""
    firmware: str = ""
    memory_maximum_bytes: int = 0
    memory_current_bytes: int = 0
    vcpus_maximum: int = 0
    vcpus_current: int = 0
    disks: tuple[Disk, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    graphics: tuple[Graphics, ...] = ()
    host_devices: tuple[HostDevice, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    agent_connected: bool = False


NO_DOMAIN_DEFINITION = DomainDefinition()

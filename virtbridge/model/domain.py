"""Domain definitions: what libvirt's XML says about one domain, and the names its storage is found by.

The device dataclasses are the contract's dictionaries: their fields, in order, are the keys that
dbus/org.virtbridge1.Domain.xml documents, with `_` for `-`. A str is empty and an int is 0 when absent, an
int is never negative. Pure: no parsing here (domain_xml does that), no I/O.
Source: libvirt domain XML, https://libvirt.org/formatdomain.html
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import normpath


@dataclass(frozen=True, slots=True)
class Disk:
    """source: never set for a volume (pool and volume are). backing, data_store, mirror: as source_text()
    writes them.
    """

    device: str = ""
    type: str = ""
    target: str = ""
    bus: str = ""
    source: str = ""
    protocol: str = ""
    hosts: tuple[str, ...] = ()
    pool: str = ""
    volume: str = ""
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
    """mac: lower case. address: of the host's PCI device, as in 0000:03:00.0."""

    type: str = ""
    mac: str = ""
    model: str = ""
    target: str = ""
    alias: str = ""
    source: str = ""
    network: str = ""
    port_group: str = ""
    bridge: str = ""
    mode: str = ""
    address: str = ""
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
    mode: str = ""
    type: str = ""
    managed: bool = False
    source: str = ""
    model: str = ""
    alias: str = ""
    boot_order: int = 0


@dataclass(frozen=True, slots=True)
class Filesystem:
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

# Where libvirt connects to when a host has no port (virStorageSourceNetworkDefaultPort).
_DEFAULT_PORTS = {
    "ftp": "21",
    "ftps": "990",
    "gluster": "24007",
    "http": "80",
    "https": "443",
    "iscsi": "3260",
    "nbd": "10809",
    "nfs": "2049",
    "sheepdog": "7000",
    "ssh": "22",
    "tftp": "69",
}
_WITH_HOSTS = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)/(.*)", re.DOTALL)
_NORMAL_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_HEX = frozenset("0123456789abcdef")


def source_text(protocol: str, hosts: tuple[str, ...], name: str) -> str:
    """A network source in one string, which is how backing chains keep it.

    `protocol:name`; with hosts `protocol://host:port,host:port/name`; on a Unix socket, as QEMU writes it,
    `protocol+unix:///name?socket=path`.
    """
    if not hosts:
        return f"{protocol}:{name}"
    if hosts[0].startswith("/"):
        return f"{protocol}+unix:///{name}?socket={hosts[0]}"
    return f"{protocol}://{','.join(hosts)}/{name}"


def normal_source(text: str) -> str:
    """The one spelling of a storage source under which disk_sources() gives it.

    Absolute paths lose doubled slashes, `.` and `..` (lexically: only the host can resolve symbolic links).
    Volumes (`pool/volume`) and network disks (`protocol:…`) stay as they are, but for a host's case.
    """
    if text.startswith("/"):
        # normpath keeps exactly two leading slashes, as POSIX allows; Linux gives them no meaning.
        return normpath("/" + text.lstrip("/"))
    match = _WITH_HOSTS.match(text)
    return f"{match[1]}://{match[2].lower()}/{match[3]}" if match else text


def disk_sources(disk: Disk) -> tuple[str, ...]:
    """Every normal spelling by which what the guest writes to can be found: the top source, its data file and
    the mirror; none without a medium.
    """
    if disk.type == "volume":
        top = [normal_source(f"{disk.pool}/{disk.volume}")] if disk.pool else []
    elif disk.protocol:
        top = list(_spellings(source_text(disk.protocol, disk.hosts, disk.source)))
    else:
        top = [normal_source(disk.source)] if disk.source else []
    for beside in (disk.data_store, disk.mirror):
        if beside:
            top.extend(_spellings(beside))
    return tuple(dict.fromkeys(top))


def backing_sources(disk: Disk) -> tuple[str, ...]:
    """Likewise for what lies below the top."""
    return tuple(dict.fromkeys(spelling for text in disk.backing for spelling in _spellings(text)))


def normal_mac(text: str) -> str | None:
    """A MAC address as lower case with colons, from any case, with `:` or `-`; None when it is none."""
    if _NORMAL_MAC.fullmatch(text):
        return text
    parts = text.strip().lower().replace("-", ":").split(":")
    if len(parts) != 6 or not all(0 < len(part) <= 2 and _HEX.issuperset(part) for part in parts):
        return None
    return ":".join(part.zfill(2) for part in parts)


def _spellings(text: str) -> Iterator[str]:
    """A path, pool/volume or source_text(): itself, and a network disk's forms by name and by each host."""
    match = _WITH_HOSTS.match(text)
    if not match or match[1] == "nvme":
        yield normal_source(text)
        return
    scheme, hosts, name = match[1], match[2].lower(), match[3]
    if scheme.endswith("+unix"):
        yield f"{scheme.removesuffix('+unix')}:{name.rpartition('?socket=')[0]}"
        yield normal_source(text)
        return
    yield f"{scheme}:{name}"
    if "," in hosts:
        yield f"{scheme}://{hosts}/{name}"  # all at once, as `backing` and `mirror` have it
    for host in hosts.split(","):
        yield f"{scheme}://{host}/{name}"
        bare, port = _split_port(host)
        if port:
            yield f"{scheme}://{bare}/{name}"
        elif scheme in _DEFAULT_PORTS:
            yield f"{scheme}://{bare}:{_DEFAULT_PORTS[scheme]}/{name}"


def _split_port(host: str) -> tuple[str, str]:
    """`name:port` and `[v6]:port` in two; a name without a port has an empty one."""
    name, _, port = host.rpartition(":")
    return (name, port) if port.isdecimal() and name else (host, "")

"""Another libvirt client that changes things at random: a table of operations, a seed, a note of what it did.

An operation that libvirt refuses in the present state is part of the game and noted as refused. `silent`
operations are those for which libvirt sends no event; a mirror may need one Connection.Refresh after them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import libvirt

_LIVE, _CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG


@dataclass(frozen=True)
class World:
    """What the operations need to know of a driver.

    kind: the domains' type. emulator: empty for the test driver. most: how many domains may exist.
    """

    kind: str
    emulator: str = ""
    most: int = 8

    def domain_xml(self, name: str, rng: random.Random) -> str:
        emulator = f"<emulator>{self.emulator}</emulator>" if self.emulator else ""
        quiet = "<controller type='usb' model='none'/><memballoon model='none'/>" if self.emulator else ""
        if self.emulator:
            quiet += _DRIVE.format(source="")
        title = f"<title>{escape(rng.choice(_WORDS))}</title>" if rng.random() < 0.5 else ""
        disk = ""
        if not self.emulator:
            disk = f"<disk type='file' device='disk'><source file='/x/{name}.img'/><target dev='vda'/></disk>"
        return (
            f"<domain type='{self.kind}'><name>{name}</name>{title}<memory unit='MiB'>32</memory>"
            f"<vcpu current='{rng.choice((1, 2))}'>2</vcpu>"
            f"<os><type arch='x86_64'{_MACHINE if self.emulator else ''}>hvm</type></os>"
            f"<devices>{emulator}{quiet}{disk}</devices></domain>"
        )


TEST = World("test")
QEMU = World("qemu", "/usr/bin/qemu-system-x86_64", most=3)
_MACHINE = " machine='pc'"
_DRIVE = "<disk type='file' device='cdrom'>{source}<target dev='hdc' bus='ide'/><readonly/></disk>"
_MEDIA = ("", "/usr/bin/env", "/usr/bin/id")  # any file is a medium
_WORDS = ("short", "ünïcödé ☃", "a<b & c>d", "", "x" * 300)


class OtherClient:
    """Its own connection; `history` is what to print when a mirror is wrong."""

    def __init__(
        self, uri: str, seed: int, world: World, operations: "Sequence[Operation] | None" = None
    ) -> None:
        """operations: those of OPERATIONS unless others are given."""
        self.uri = uri
        self.operations = OPERATIONS if operations is None else operations
        self.seed = seed
        self.world = world
        self.rng = random.Random(seed)
        self.conn = libvirt.open(uri)
        self.history: list[str] = []
        self.silent_since_settled = False
        self._number = 0

    def reopen(self) -> None:
        """After libvirtd was killed."""
        self.conn.close()
        self.conn = libvirt.open(self.uri)
        self.history.append("reopen")

    def close(self) -> None:
        self.conn.close()

    def note(self) -> str:
        return f"seed {self.seed}; changes: " + ", ".join(self.history[-60:])

    def step(self, names: Sequence[str] | None = None) -> None:
        """One random operation, of these or of all, that finds something to work on."""
        fitting = [
            op for op in self.operations if (names is None or op.name in names) and op.fits(self.world)
        ]
        weights = [operation.weight for operation in fitting]
        while not self.do(self.rng.choices(fitting, weights)[0]):
            pass

    def do(self, operation: "Operation") -> bool:
        """False when there was nothing to do it to."""
        try:
            what = operation.act(self)
        except libvirt.libvirtError as error:
            if error.get_error_code() in _LOST:
                raise
            self.history.append(f"({operation.name} refused: {error.get_error_code()})")
            self.silent_since_settled |= operation.undone
        else:
            if what is None:
                return False
            self.history.append(f"{operation.name} {what}")
            self.silent_since_settled |= operation.silent
        return True

    def new_name(self) -> str:
        self._number += 1
        return f"d{self.seed}-{self._number}"

    def domain(self, *flags: int) -> libvirt.virDomain | None:
        """One at random, of those that libvirt lists with these flags."""
        found = sorted(self.conn.listAllDomains(sum(flags)), key=lambda domain: domain.UUIDString())
        return self.rng.choice(found) if found else None

    def network(self, *flags: int) -> libvirt.virNetwork | None:
        found = sorted(self.conn.listAllNetworks(sum(flags)), key=lambda network: network.UUIDString())
        return self.rng.choice(found) if found else None


_LOST = frozenset({libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_NO_CONNECT})
_ACTIVE, _INACTIVE = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE, libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE
_PERSISTENT = libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
_RUNNING, _PAUSED = libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING, libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED
_SAVED = libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE
_UNDEFINE_ALL = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA

Act = Callable[[OtherClient], str | None]  # what it did it to; None: there was nothing to do it to


@dataclass(frozen=True)
class Operation:
    """only: the driver it makes sense for. undone: a refusal may have shown in the XML for a moment, and no
    event says that it is gone.
    """

    name: str
    act: Act
    weight: int = 2
    silent: bool = False
    only: str = ""
    undone: bool = False

    def fits(self, world: World) -> bool:
        return self.only in ("", world.kind)


def _on_domain(do: Callable[[libvirt.virDomain, OtherClient], object], *flags: int) -> Act:
    """An operation on a random domain of those listed with flags."""

    def act(other: OtherClient) -> str | None:
        domain = other.domain(*flags)
        if domain is None:
            return None
        name = str(domain.name())
        do(domain, other)
        return name

    return act


def _on_network(do: Callable[[libvirt.virNetwork], object], *flags: int) -> Act:
    def act(other: OtherClient) -> str | None:
        network = other.network(*flags)
        if network is None:
            return None
        do(network)
        return str(network.name())

    return act


def _define(other: OtherClient) -> str | None:
    if other.conn.numOfDomains() + other.conn.numOfDefinedDomains() >= other.world.most:
        return None
    name = other.new_name()
    other.conn.defineXML(other.world.domain_xml(name, other.rng))
    return name


def _create_transient(other: OtherClient) -> str | None:
    if other.conn.numOfDomains() + other.conn.numOfDefinedDomains() >= other.world.most:
        return None
    name = other.new_name()
    other.conn.createXML(other.world.domain_xml(name, other.rng))
    return name


def _redefine(domain: libvirt.virDomain, other: OtherClient) -> None:
    """The same UUID with another description."""
    uuid = domain.UUIDString()
    xml = other.world.domain_xml(domain.name(), other.rng)
    text = f"<uuid>{uuid}</uuid><description>{other.rng.random()}</description>"
    other.conn.defineXML(xml.replace("</name>", f"</name>{text}", 1))


def _save(domain: libvirt.virDomain, other: OtherClient) -> None:
    """To a file and back again: two changes of state. The file is libvirtd's, in a tmpfs."""
    path = f"/var/lib/libvirt/{other.new_name()}.save"
    domain.save(path)
    other.conn.restore(path)


def _memory(domain: libvirt.virDomain, other: OtherClient) -> None:
    domain.setMemoryFlags(other.rng.choice((16, 24, 32)) * 1024, _CONFIG)


def _vcpus(domain: libvirt.virDomain, other: OtherClient) -> None:
    domain.setVcpusFlags(other.rng.choice((1, 2)), _CONFIG)


def _title(domain: libvirt.virDomain, other: OtherClient) -> None:
    flags = _LIVE if domain.isActive() else _CONFIG
    title = other.rng.choice(_WORDS) or None
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, title, None, None, flags)


def _autostart(domain: libvirt.virDomain, _other: OtherClient) -> None:
    domain.setAutostart(0 if domain.autostart() else 1)


def _snapshot(domain: libvirt.virDomain, _other: OtherClient) -> None:
    domain.snapshotCreateXML("<domainsnapshot/>", 0)


def _delete_snapshots(domain: libvirt.virDomain, _other: OtherClient) -> None:
    for snapshot in domain.listAllSnapshots():
        snapshot.delete()


_NIC = (
    "<interface type='{kind}'><mac address='52:54:00:00:00:{number:02x}'/><model type='virtio'/></interface>"
)


def _attach(domain: libvirt.virDomain, other: OtherClient) -> None:
    flags = _LIVE if domain.isActive() else _CONFIG
    xml = _NIC.format(kind="user", number=other.rng.randrange(256))
    domain.attachDeviceFlags(xml, flags)


def _detach(domain: libvirt.virDomain, other: OtherClient) -> None:
    flags = _LIVE if domain.isActive() else _CONFIG
    start = domain.XMLDesc(0).partition("<interface ")
    if start[1]:
        domain.detachDeviceFlags(start[1] + start[2].partition("</interface>")[0] + "</interface>", flags)


def _set_metadata(domain: libvirt.virDomain, other: OtherClient) -> None:
    flags = _LIVE if domain.isActive() else _CONFIG
    xml = f"<note n='{other.rng.random()}'/>"
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, "vb", "urn:virtbridge:test", flags)


def _change_medium(domain: libvirt.virDomain, other: OtherClient) -> None:
    medium = other.rng.choice(_MEDIA)
    source = f"<source file='{medium}'/>" if medium else ""
    domain.updateDeviceFlags(_DRIVE.format(source=source), _LIVE)


def _define_over(domain: libvirt.virDomain, other: OtherClient) -> None:
    """What runs and may be transient gets the definition that it runs with."""
    other.conn.defineXML(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def _replace(domain: libvirt.virDomain, other: OtherClient) -> None:
    """Gone, and at once another one under the same UUID."""
    uuid = domain.UUIDString()
    domain.undefineFlags(_UNDEFINE_ALL)
    xml = other.world.domain_xml(other.new_name(), other.rng)
    other.conn.defineXML(xml.replace("</name>", f"</name><uuid>{uuid}</uuid>", 1))


def _rename_twice(domain: libvirt.virDomain, other: OtherClient) -> None:
    name = domain.name()
    domain.rename(other.new_name())
    other.conn.lookupByUUID(domain.UUID()).rename(name)


def _update_network(network: libvirt.virNetwork) -> None:
    """A port group more, now and in the definition; libvirt sends no event."""
    add, section = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_SECTION_PORTGROUP
    name = f"group{len(network.XMLDesc(0))}"
    network.update(add, section, -1, f"<portgroup name='{name}'/>", 0)


def _define_network(other: OtherClient) -> str | None:
    if len(other.conn.listAllNetworks()) > 3:
        return None
    name = other.new_name()
    other.conn.networkDefineXML(
        f"<network><name>{name}</name><bridge name='vb{other.seed % 100}x{other._number}'/></network>"
    )
    return name


_NETWORK_ON, _NETWORK_OFF = (
    libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE,
    libvirt.VIR_CONNECT_LIST_NETWORKS_INACTIVE,
)

OPERATIONS: tuple[Operation, ...] = (
    Operation("define", _define, weight=4),
    Operation("create-transient", _create_transient),
    Operation("redefine", _on_domain(_redefine, _INACTIVE)),
    Operation("undefine", _on_domain(lambda d, _: d.undefineFlags(_UNDEFINE_ALL), _PERSISTENT), weight=1),
    Operation("start", _on_domain(lambda d, _: d.create(), _INACTIVE), weight=6),
    Operation("suspend", _on_domain(lambda d, _: d.suspend(), _RUNNING), weight=4),
    Operation("resume", _on_domain(lambda d, _: d.resume(), _PAUSED), weight=5),
    # The test driver's reboot changes the state's reason and sends nothing (libvirt 9.0).
    Operation("reboot", _on_domain(lambda d, _: d.reboot(), _RUNNING), weight=1, silent=True, only="test"),
    Operation("reboot", _on_domain(lambda d, _: d.reboot(), _RUNNING), weight=1, only="qemu"),
    Operation("shutdown", _on_domain(lambda d, _: d.shutdown(), _RUNNING), weight=1, only="test"),
    Operation("reset", _on_domain(lambda d, _: d.reset(), _RUNNING), weight=1, only="qemu"),
    Operation("destroy", _on_domain(lambda d, _: d.destroy(), _ACTIVE)),
    Operation("save", _on_domain(_save, _RUNNING), weight=1),
    Operation("managed-save", _on_domain(lambda d, _: d.managedSave(), _ACTIVE, _PERSISTENT)),
    Operation("managed-save-remove", _on_domain(lambda d, _: d.managedSaveRemove(), _SAVED), silent=True),
    Operation("rename", _on_domain(lambda d, o: d.rename(o.new_name()), _INACTIVE, _PERSISTENT)),
    Operation("title", _on_domain(_title), weight=3),
    Operation("memory", _on_domain(_memory, _PERSISTENT), silent=True),
    Operation("vcpus", _on_domain(_vcpus, _PERSISTENT), silent=True),
    Operation("autostart", _on_domain(_autostart, _PERSISTENT), silent=True),
    Operation("attach-config", _on_domain(_attach, _INACTIVE), silent=True, only="qemu"),
    Operation("detach-config", _on_domain(_detach, _INACTIVE), silent=True, only="qemu"),
    Operation("attach-live", _on_domain(_attach, _RUNNING), only="qemu", undone=True),
    Operation("detach-live", _on_domain(_detach, _RUNNING), only="qemu"),
    Operation("snapshot", _on_domain(_snapshot), silent=True, only="test"),
    Operation("snapshot-delete", _on_domain(_delete_snapshots), weight=1, silent=True, only="test"),
    Operation("change-medium", _on_domain(_change_medium, _RUNNING), weight=3, only="qemu"),
    Operation("metadata", _on_domain(_set_metadata)),
    Operation("define-over", _on_domain(_define_over, _ACTIVE), weight=1),
    Operation("replace", _on_domain(_replace, _INACTIVE, _PERSISTENT), weight=1),
    Operation("rename-twice", _on_domain(_rename_twice, _INACTIVE, _PERSISTENT), weight=1),
    Operation("network-define", _define_network),
    Operation("network-update", _on_network(_update_network), silent=True),
    Operation("network-start", _on_network(lambda n: n.create(), _NETWORK_OFF), only="test"),
    Operation("network-stop", _on_network(lambda n: n.destroy(), _NETWORK_ON), only="test"),
    Operation("network-undefine", _on_network(lambda n: n.undefine(), _NETWORK_OFF), weight=1),
    Operation("network-autostart", _on_network(lambda n: n.setAutostart(not n.autostart())), silent=True),
)

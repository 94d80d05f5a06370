"""The mirror: a client that applied only GetManagedObjects and the signals; and the truth to hold it against.

The truth asks libvirt itself over a connection of its own and reads XML with ElementTree: it shares no code
with virtbridge, so that both cannot be wrong in the same way. Used by the tests that matter most.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

import libvirt

from tests.support.client import OBJECT_MANAGER, PROPERTIES, ROOT, SERVICE, Client, plain

View = dict[tuple[str, str], dict[str, Any]]  # (kind, uuid or name) -> property -> value

_RULES = (
    f"type='signal',sender='{SERVICE}',interface='{OBJECT_MANAGER}'",
    f"type='signal',sender='{SERVICE}',interface='{PROPERTIES}',path_namespace='{ROOT}'",
)


class Mirror:
    """objects: path -> interface -> property -> plain value.

    faults: what a correct service never sends: an update of an unknown object, a change to the same
    value, an invalidated property, an object announced twice.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.faults: list[str] = []
        self.signals = 0
        self._snapshot_serial = -1
        self._ready = asyncio.Event()

    @classmethod
    async def follow(cls, client: Client) -> "Mirror":
        """Match rules first, then one GetManagedObjects, and nothing else ever."""
        mirror = cls(client)
        for rule in _RULES:
            await client.add_match(rule)
        call = client.message(ROOT, OBJECT_MANAGER, "GetManagedObjects")
        mirror._snapshot_serial = call.serial
        client.on_message.append(mirror._apply)
        await client.bus.send(call)
        async with asyncio.timeout(30):
            await mirror._ready.wait()
        return mirror

    def _apply(self, message: Any) -> None:
        # In the order of arrival: a signal before the snapshot's reply is in it, one after it is not.
        if message.reply_serial == self._snapshot_serial:
            self.objects = plain(message.body[0])
            self._ready.set()
        elif self._ready.is_set() and message.member in _APPLY and message.message_type.name == "SIGNAL":
            self.signals += 1
            _APPLY[message.member](self, message.path, plain(message.body))

    def _added(self, _path: str, body: list[Any]) -> None:
        path, interfaces = body
        known = self.objects.setdefault(path, {})
        for name, values in interfaces.items():
            if name in known:
                self.faults.append(f"{path} {name} added twice")
            known[name] = values

    def _removed(self, _path: str, body: list[Any]) -> None:
        path, names = body
        known = self.objects.get(path, {})
        for name in names:
            if known.pop(name, None) is None:
                self.faults.append(f"{path} {name} removed without having been there")
        if not known:
            self.objects.pop(path, None)

    def _changed(self, path: str, body: list[Any]) -> None:
        name, values, invalidated = body
        known = self.objects.get(path, {}).get(name)
        if known is None:
            self.faults.append(f"{path} {name} changed without having been there")
            return
        for key, value in values.items():
            if key not in known:
                self.faults.append(f"{path} {key} is new")
            elif known[key] == value:
                self.faults.append(f"{path} {key} changed to what it was: {value!r}")
        if invalidated:
            self.faults.append(f"{path} invalidated {invalidated}")
        known.update(values)

    def view(self, connection: str) -> View:
        """The objects of one connection in the truth's shape."""
        found: View = {}
        base = f"{ROOT}/{connection}/"
        for path, interfaces in self.objects.items():
            for kind, name, reduce in _REDUCERS:
                if path.startswith(base) and name in interfaces:
                    values = interfaces[name]
                    found[kind, _identity(values)] = reduce(values)
        return found

    def connection_state(self, connection: str) -> str:
        state = self.objects.get(f"{ROOT}/{connection}", {}).get(f"{SERVICE}.Connection", {}).get("State", "")
        return str(state)


_APPLY: Mapping[str, Callable[[Mirror, str, list[Any]], None]] = {
    "InterfacesAdded": Mirror._added,
    "InterfacesRemoved": Mirror._removed,
    "PropertiesChanged": Mirror._changed,
}

_DOMAIN_VALUES = (
    *(
        "Name",
        "Id",
        "State",
        "StateReason",
        "Active",
        "Persistent",
        "Autostart",
        "HasManagedSave",
        "HasSnapshots",
    ),
    *("Title", "Description", "Type", "OsType", "Arch"),
    *("MemoryMaximum", "MemoryCurrent", "VcpusMaximum", "VcpusCurrent"),
)
_NETWORK_VALUES = ("Name", "Active", "Persistent", "Autostart", "Bridge", "Mac")


def _domain_view(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _DOMAIN_VALUES} | {
        "disks": [
            (disk.get("target", ""), disk.get("source", ""), disk.get("tray-open", False))
            for disk in values["Disks"]
        ],
        "macs": [interface.get("mac", "") for interface in values["Interfaces"]],
    }


def _network_view(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _NETWORK_VALUES} | {
        "groups": [group["name"] for group in values["PortGroups"]],
    }


_POOL_VALUES = (
    *("Name", "State", "Active", "Persistent", "Autostart", "Type"),
    *("Capacity", "Allocation", "Available", "TargetPath", "TargetMode"),
)
_DEVICE_VALUES = ("Name", "Active", "Parent", "Path", "Driver", "Capabilities")
_FILTER_VALUES = ("Name", "Chain", "Stale")
_SNAPSHOT_VALUES = ("Name", "Description", "State", "Current", "Stale")
_SECRET_VALUES = ("UsageType", "UsageId", "Description", "Ephemeral", "Private")


def _pool_view(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _POOL_VALUES}


def _device_view(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _DEVICE_VALUES} | {
        "hosts": [each.get("wwpn", "") for each in values["Details"] if each["type"] == "scsi_host"],
    }


def _secret_view(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _SECRET_VALUES} | {"Name": values["UsageId"]}


def _filter_view(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _FILTER_VALUES} | {"rules": len(values["Rules"])}


def _snapshot_view(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _SNAPSHOT_VALUES} | {"children": len(values["Children"])}


def _identity(values: Mapping[str, Any]) -> str:
    """The UUID, or the name, with the UUID of the domain that it is in."""
    name = str(values["Uuid"] if "Uuid" in values else values["Name"])
    domain: str = values.get("Domain", "")
    return f"{domain[-36:].replace('_', '-')} {name}" if domain else name


_REDUCERS = (
    ("domain", f"{SERVICE}.Domain", _domain_view),
    ("network", f"{SERVICE}.Network", _network_view),
    ("pool", f"{SERVICE}.StoragePool", _pool_view),
    ("nodedev", f"{SERVICE}.NodeDevice", _device_view),
    ("secret", f"{SERVICE}.Secret", _secret_view),
    ("nwfilter", f"{SERVICE}.NWFilter", _filter_view),
    ("snapshot", f"{SERVICE}.Snapshot", _snapshot_view),
)


def _names(prefix: str) -> dict[int, str]:
    """libvirt's constants NAME with this prefix, as the contract spells them."""
    return {
        value: name[len(prefix) :].lower().replace("_", "-")
        for name, value in vars(libvirt).items()
        if name.startswith(prefix) and isinstance(value, int) and not name.endswith("_LAST")
    }


_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: "nostate",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "blocked",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_SHUTOFF: "shutoff",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "pmsuspended",
}
_REASONS = {state: _names(f"VIR_DOMAIN_{name.upper()}_") for state, name in _STATES.items()}
_SOURCES = ("file", "dev", "dir", "name", "volume")


def _kib(element: ElementTree.Element | None) -> int:
    if element is None:
        return 0
    assert element.get("unit", "KiB") == "KiB", "libvirt always writes KiB"
    return int(element.text or 0) * 1024


def _disk(disk: ElementTree.Element) -> tuple[str, str, bool]:
    target, source = disk.find("target"), disk.find("source")
    where = "" if source is None else next((source.get(key, "") for key in _SOURCES if source.get(key)), "")
    if target is None:
        return "", where, False
    return target.get("dev", ""), where, target.get("tray") == "open"


def _definition(xml: str) -> dict[str, Any]:
    root = ElementTree.fromstring(xml)
    vcpu, os_type, mac = root.find("vcpu"), root.find("os/type"), "devices/interface/mac"
    assert vcpu is not None
    maximum = int(vcpu.text or 1)
    return {
        "Title": root.findtext("title", ""),
        "Description": root.findtext("description", ""),
        "Type": root.get("type", ""),
        "OsType": "" if os_type is None else os_type.text,
        "Arch": "" if os_type is None else os_type.get("arch", ""),
        "MemoryMaximum": _kib(root.find("memory")),
        "MemoryCurrent": _kib(root.find("currentMemory")) or _kib(root.find("memory")),
        "VcpusMaximum": maximum,
        "VcpusCurrent": int(vcpu.get("current", maximum)),
        "disks": [_disk(disk) for disk in root.iterfind("devices/disk")],
        "macs": [element.get("address", "") for element in root.iterfind(mac)],
    }


def _has_managed_save(domain: libvirt.virDomain) -> bool:
    try:
        return bool(domain.hasManagedSaveImage())
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID):
            return False
        raise


def domain_truth(domain: libvirt.virDomain) -> dict[str, Any]:
    """One domain's properties by libvirt's own getters, one call each."""
    state, reason = domain.state()
    fresh_id = domain.connect().lookupByUUID(domain.UUID()).ID()
    return _definition(domain.XMLDesc(0)) | {
        "Name": domain.name(),
        "Id": fresh_id,
        "State": _STATES.get(state, str(state)),
        "StateReason": _REASONS.get(state, {}).get(reason, str(reason)),
        "Active": bool(domain.isActive()),
        "Persistent": bool(domain.isPersistent()),
        "Autostart": bool(domain.autostart()),
        "HasManagedSave": _has_managed_save(domain),
        "HasSnapshots": domain.snapshotNum() > 0,
    }


def network_truth(network: libvirt.virNetwork) -> dict[str, Any]:
    root = ElementTree.fromstring(network.XMLDesc(0))
    bridge, mac = root.find("bridge"), root.find("mac")
    return {
        "Name": network.name(),
        "Active": bool(network.isActive()),
        "Persistent": bool(network.isPersistent()),
        "Autostart": bool(network.autostart()),
        "Bridge": "" if bridge is None else bridge.get("name", ""),
        "Mac": "" if mac is None else mac.get("address", ""),
        "groups": [group.get("name", "") for group in root.iterfind("portgroup")],
    }


def pool_truth(pool: libvirt.virStoragePool) -> dict[str, Any]:
    root = ElementTree.fromstring(pool.XMLDesc(0))
    state, capacity, allocation, available = pool.info()
    return {
        "Name": pool.name(),
        "State": {0: "inactive", 2: "running"}.get(state, str(state)),
        "Active": bool(pool.isActive()),
        "Persistent": bool(pool.isPersistent()),
        "Autostart": bool(pool.autostart()),
        "Type": root.get("type", ""),
        "Capacity": capacity,
        "Allocation": allocation,
        "Available": available,
        "TargetPath": root.findtext("target/path", ""),
        "TargetMode": root.findtext("target/permissions/mode", ""),
    }


def device_truth(device: libvirt.virNodeDevice) -> dict[str, Any]:
    root = ElementTree.fromstring(device.XMLDesc(0))
    hosts = root.iterfind("capability[@type='scsi_host']")
    return {
        "Name": device.name(),
        "Active": True,  # nothing here makes mediated devices
        "Parent": device.parent() or "",
        "Path": root.findtext("path", ""),
        "Driver": root.findtext("driver/name", ""),
        "Capabilities": list(dict.fromkeys(each.get("type") for each in root.iter("capability"))),
        "hosts": [each.findtext("capability/wwpn", "") for each in hosts],
    }


_USAGE_TYPES = _names("VIR_SECRET_USAGE_TYPE_")


def secret_truth(secret: libvirt.virSecret) -> dict[str, Any]:
    root = ElementTree.fromstring(secret.XMLDesc(0))
    return {
        "Name": secret.usageID(),
        "UsageType": _USAGE_TYPES[secret.usageType()],
        "UsageId": secret.usageID(),
        "Description": root.findtext("description", ""),
        "Ephemeral": root.get("ephemeral") == "yes",
        "Private": root.get("private") == "yes",
    }


def _if_any(listing: Callable[[], list[Any]]) -> list[Any]:
    try:
        return listing()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return []
        raise


def filter_truth(known: libvirt.virNWFilter) -> dict[str, Any]:
    root = ElementTree.fromstring(known.XMLDesc(0))
    return {
        "Name": known.name(),
        "Chain": root.get("chain", ""),
        "Stale": False,
        "rules": len(root.findall("rule")),
    }


def snapshot_truth(snapshot: libvirt.virDomainSnapshot) -> dict[str, Any]:
    root = ElementTree.fromstring(snapshot.getXMLDesc(0))
    return {
        "Name": snapshot.getName(),
        "Description": root.findtext("description", ""),
        "State": root.findtext("state", ""),
        "Current": bool(snapshot.isCurrent()),
        "Stale": False,
        "children": snapshot.numChildren(),
    }


def demand_truth(conn: libvirt.virConnect) -> View:
    """The objects that no event announces."""
    found: View = {}
    for known in _if_any(conn.listAllNWFilters):
        found["nwfilter", known.UUIDString()] = filter_truth(known)
    for domain in conn.listAllDomains():
        for snapshot in domain.listAllSnapshots():
            found["snapshot", f"{domain.UUIDString()} {snapshot.getName()}"] = snapshot_truth(snapshot)
    return found


def truth(conn: libvirt.virConnect) -> View:
    """What libvirt says now about all objects. Blocks; any thread."""
    found: View = {}
    for domain in conn.listAllDomains():
        found["domain", domain.UUIDString()] = domain_truth(domain)
    for network in conn.listAllNetworks():
        found["network", network.UUIDString()] = network_truth(network)
    for pool in conn.listAllStoragePools():
        found["pool", pool.UUIDString()] = pool_truth(pool)
    for device in conn.listAllDevices():
        found["nodedev", device.name()] = device_truth(device)
    for secret in _if_any(conn.listAllSecrets):
        found["secret", secret.UUIDString()] = secret_truth(secret)
    return found


def differences(seen: View, expected: View) -> list[str]:
    """One line for each object or property that differs; empty when the mirror is right."""
    lines = [f"missing: {key} {expected[key]['Name']}" for key in sorted(expected.keys() - seen.keys())]
    lines += [f"left over: {key} {seen[key]['Name']}" for key in sorted(seen.keys() - expected.keys())]
    for key in sorted(seen.keys() & expected.keys()):
        lines += [
            f"{key[0]} {expected[key]['Name']} {name}: mirror {seen[key].get(name)!r}, libvirt {value!r}"
            for name, value in expected[key].items()
            if seen[key].get(name) != value
        ]
    return lines


async def settle(
    mirrors: list[Mirror],
    conn: libvirt.virConnect,
    connection: str,
    timeout_s: float = 5,
    note: str = "",
    *,
    on_demand: bool = False,
) -> None:
    """Wait until every mirror shows exactly the truth; fail with what differs, or with any fault. on_demand:
    with what no event tells of, which somebody watches.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        expected = await asyncio.to_thread(truth, conn)
        if on_demand:
            expected |= await asyncio.to_thread(demand_truth, conn)
        lines = [line for mirror in mirrors for line in differences(mirror.view(connection), expected)]
        if not lines or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.02)
    faults = [fault for mirror in mirrors for fault in mirror.faults]
    assert not lines, f"{note}\nthe mirror never became what libvirt says:\n" + "\n".join(lines[:40])
    assert not faults, f"{note}\nsignals that should not have been sent:\n" + "\n".join(faults[:40])

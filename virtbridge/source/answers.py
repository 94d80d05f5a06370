"""The operations that need more than one call of libvirt: functions by the names of rows of
model/operations.py.

Each function gets the session, libvirt's object (None for the connection itself) and the request's arguments.
Answers are plain values and the model's dataclasses, in the contract's units. A call that waits for a guest
or examines programs of the host is not a short read; every other call is. Main thread.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import libvirt

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.answers import DhcpLease, GuestAddress, GuestInterface, NodeInfo, parse_port
from virtbridge.model.capabilities import parse_emulators
from virtbridge.model.enum_names import name_of
from virtbridge.model.macs import shown_mac
from virtbridge.model.xml import BadXml
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.enums import table
from virtbridge.tasks import all_of

Function = Callable[..., Awaitable[Any]]

_ADDRESS_TYPE = {libvirt.VIR_IP_ADDR_TYPE_IPV4: "ipv4", libvirt.VIR_IP_ADDR_TYPE_IPV6: "ipv6"}
_SOURCES = {
    "lease": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    "agent": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
    "arp": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
}
_JOB_TYPE = table("VIR_DOMAIN_JOB_", "OPERATION_", "STATS_")
_JOB_OPERATION = table("VIR_DOMAIN_JOB_OPERATION_", "STR_")


async def _emulators(session: Session, _raw: Any) -> frozenset[str]:
    try:
        # Parsed in the worker: a host with many emulators has hundreds of KiB.
        found: frozenset[str] = await session.call("getCapabilities", then=parse_emulators)
    except (BadXml, UnicodeError) as error:
        raise BridgeError(ErrorKind.OPERATION_FAILED, "the host's capabilities cannot be read") from error
    return found


async def _domain_capabilities(
    session: Session, _raw: Any, emulator: str, arch: str, machine: str, type: str
) -> str:
    words = [word or None for word in (emulator, arch, machine, type)]
    return str(await session.call("getDomainCapabilities", *words, 0))


async def _node_info(session: Session, _raw: Any) -> NodeInfo:
    model, memory_mib, *counts = await session.call("getInfo", short=True)
    return NodeInfo(model, int(memory_mib) << 20, *counts)  # libvirt-python makes MiB of libvirt's KiB


async def _node_stats(session: Session, _raw: Any) -> dict[str, int]:
    """Return processor times in ns and memory in bytes, without what the driver does not report."""
    parts = await all_of(
        [
            _node_part(session, "getCPUStats", "cpu", 1),
            _node_part(session, "getMemoryStats", "memory", 1024),
        ]
    )
    stats = {name: value for part in parts for name, value in part.items()}
    if not stats:
        raise BridgeError(ErrorKind.NOT_SUPPORTED, "this driver reports neither processor times nor memory")
    return stats


async def _node_part(session: Session, method: str, prefix: str, factor: int) -> dict[str, int]:
    """Return nothing when the driver does not have the call."""
    try:
        values = await session.call(method, -1, 0, short=True)
    except BridgeError as error:
        if not is_unsupported(error):
            raise
        return {}
    return {f"{prefix}-{name}": int(value) * factor for name, value in values.items()}


async def _leases(session: Session, raw: Any) -> tuple[DhcpLease, ...]:
    return tuple(map(_lease, await session.on(raw, "DHCPLeases", short=True)))


def _lease(lease: Mapping[str, Any]) -> DhcpLease:
    return DhcpLease(
        interface=lease.get("iface") or "",
        expiry=max(0, lease.get("expirytime") or 0) * 1_000_000,
        type=name_of(_ADDRESS_TYPE, lease.get("type", -1)),
        mac=shown_mac(lease.get("mac") or ""),
        iaid=lease.get("iaid") or "",
        address=lease.get("ipaddr") or "",
        prefix=lease.get("prefix") or 0,
        hostname=lease.get("hostname") or "",
        client_id=lease.get("clientid") or "",
    )


async def _ports(session: Session, raw: Any) -> tuple[Any, ...]:
    handles = await session.on(raw, "listAllPorts", 0, short=True)
    ports = await all_of(_port(session, handle) for handle in handles)
    return tuple(sorted((port for port in ports if port is not None), key=lambda port: str(port.uuid)))


async def _port(session: Session, handle: Any) -> Any:
    """Return None when the port was removed meanwhile or cannot be read."""
    try:
        return await session.on(handle, "XMLDesc", 0, short=True, then=parse_port)
    except BridgeError as error:
        if error.code != libvirt.VIR_ERR_NO_NETWORK_PORT:
            raise
    except (BadXml, UnicodeError):
        pass
    return None


async def _addresses(session: Session, raw: Any, source: str) -> tuple[GuestInterface, ...]:
    found = await session.on(raw, "interfaceAddresses", _SOURCES[source], 0, short=source != "agent")
    return tuple(_guest_interface(name, found[name]) for name in found or ())


def _guest_interface(name: str, found: Mapping[str, Any]) -> GuestInterface:
    return GuestInterface(
        name=name,
        mac=shown_mac(found.get("hwaddr") or ""),
        addresses=tuple(
            GuestAddress(
                type=name_of(_ADDRESS_TYPE, each.get("type", -1)),
                address=each.get("addr") or "",
                prefix=each.get("prefix") or 0,
            )
            for each in found.get("addrs") or ()
        ),
    )


async def _job_info(session: Session, raw: Any, completed: bool) -> dict[str, Any]:
    # Without KEEP_COMPLETED the first caller that reads a completed job's values would remove them.
    flags = (
        libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
        if completed
        else 0
    )
    values: dict[str, Any] = dict(await session.on(raw, "jobStats", flags))
    words = {"type": _JOB_TYPE, "operation": _JOB_OPERATION}
    return {
        name.replace("_", "-"): name_of(words[name], value) if name in words else value
        for name, value in values.items()
    }


FUNCTIONS: Mapping[str, Function] = {
    "get-emulators": _emulators,
    "get-domain-capabilities": _domain_capabilities,
    "get-node-info": _node_info,
    "get-node-stats": _node_stats,
    "get-dhcp-leases": _leases,
    "list-ports": _ports,
    "get-interface-addresses": _addresses,
    "get-job-info": _job_info,
}

"""What another libvirt client does to the kinds without events: snapshots of the test driver's
domains, network filters of QEMU's host. libvirt is silent about them, but a watch of these kinds is not.
"""

from collections.abc import Callable
from uuid import uuid4

import libvirt

from tests.support.changes import Act, Operation, OtherClient

_MOST = 6


def _take(other: OtherClient) -> str | None:
    domain = other.domain()
    if domain is None or domain.snapshotNum() >= _MOST:
        return None
    name = f"{other.new_name()} é+"
    domain.snapshotCreateXML(f"<domainsnapshot><name>{name}</name></domainsnapshot>", 0)
    return f"{domain.name()}: {name}"


def _on_snapshot(do: Callable[[libvirt.virDomainSnapshot], object]) -> Act:
    def act(other: OtherClient) -> str | None:
        domain = other.domain(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)
        if domain is None:
            return None
        snapshot = other.rng.choice(sorted(domain.listAllSnapshots(), key=lambda each: str(each.getName())))
        name = snapshot.getName()
        do(snapshot)
        return f"{domain.name()}: {name}"

    return act


def _redescribe(snapshot: libvirt.virDomainSnapshot) -> None:
    """Only the XML shows it."""
    xml = snapshot.getXMLDesc(0)
    before, _, rest = xml.partition("<description>")
    if rest:
        xml = before + rest.partition("</description>")[2]
    xml = xml.replace("</name>", f"</name><description>{uuid4()}</description>", 1)
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
    if snapshot.isCurrent():
        flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT
    snapshot.getDomain().snapshotCreateXML(xml, flags)


def _revert(snapshot: libvirt.virDomainSnapshot) -> None:
    snapshot.getDomain().revertToSnapshot(snapshot)


def _filter_xml(name: str, other: OtherClient, uuid: str = "") -> str:
    rules = "<rule action='drop' direction='in'><ip/></rule>" * other.rng.randrange(3)
    return f"<filter name='{name}' chain='root'><uuid>{uuid or uuid4()}</uuid>{rules}</filter>"


def _define_filter(other: OtherClient) -> str | None:
    if len(other.conn.listAllNWFilters()) >= _MOST * 2:
        return None
    name = other.new_name()
    other.conn.nwfilterDefineXML(_filter_xml(name, other))
    return name


def _on_filter(do: Callable[[libvirt.virNWFilter, OtherClient], object]) -> Act:
    def act(other: OtherClient) -> str | None:
        found = sorted(other.conn.listAllNWFilters(), key=lambda each: str(each.name()))
        if not found:
            return None
        chosen = other.rng.choice(found)
        name = str(chosen.name())
        do(chosen, other)
        return name

    return act


def _redefine_filter(known: libvirt.virNWFilter, other: OtherClient) -> None:
    """Only the XML shows it."""
    other.conn.nwfilterDefineXML(_filter_xml(known.name(), other, known.UUIDString()))


_CHILDREN = libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN

DEMAND_OPERATIONS: tuple[Operation, ...] = (
    Operation("snapshot-take", _take, weight=6, only="test"),
    Operation("snapshot-delete-one", _on_snapshot(lambda each: each.delete()), weight=3, only="test"),
    Operation("snapshot-delete-tree", _on_snapshot(lambda each: each.delete(_CHILDREN)), only="test"),
    # From running to running the test driver changes the state's reason and sends nothing (libvirt 9.0).
    Operation("snapshot-revert", _on_snapshot(_revert), silent=True, only="test"),
    Operation("snapshot-redescribe", _on_snapshot(_redescribe), only="test"),
    Operation("filter-define", _define_filter, weight=6, only="qemu"),
    Operation("filter-redefine", _on_filter(_redefine_filter), weight=3, only="qemu"),
    Operation("filter-undefine", _on_filter(lambda each, _: each.undefine()), weight=3, only="qemu"),
)

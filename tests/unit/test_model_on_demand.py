"""Parsing what is read on demand: snapshots, checkpoints, filters, bindings, host interfaces, ports."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.model.answers import NetworkPort, parse_port
from virtbridge.model.host_interface import HostAddress, parse_interface
from virtbridge.model.keys import Kind, xml_root
from virtbridge.model.nwfilters import parse_binding, parse_filter
from virtbridge.model.snapshots import children_of, parse_checkpoint, parse_snapshot
from virtbridge.model.volumes import parse_volume
from virtbridge.model.xml import BadXml

PARSERS = {
    "domainsnapshot": parse_snapshot,
    "domaincheckpoint": parse_checkpoint,
    "filter": parse_filter,
    "filterbinding": parse_binding,
    "interface": parse_interface,
    "networkport": parse_port,
    "volume": parse_volume,
}


def test_a_snapshot() -> None:
    read = parse_snapshot("""
<domainsnapshot>
  <name>before upgrade</name><description>all well</description><state>disk-snapshot</state>
  <parent><name>clean</name></parent><creationTime>1700000000</creationTime>
  <memory snapshot='external' file='/s/memory'/>
  <disks>
    <disk name='vda' snapshot='external' type='file'>
      <driver type='qcow2'/><source file='/s/over.qcow2'/>
    </disk>
    <disk name='vdb' snapshot='no'/>
  </disks>
  <domain type='qemu'><name>other</name></domain>
</domainsnapshot>""")
    assert (read.name, read.description, read.state) == ("before upgrade", "all well", "disk-snapshot")
    assert (read.parent, read.created_us) == ("clean", 1_700_000_000_000_000)
    assert (read.memory, read.memory_file) == ("external", "/s/memory")
    assert [(disk.name, disk.snapshot, disk.format, disk.source) for disk in read.disks] == [
        ("vda", "external", "qcow2", "/s/over.qcow2"),
        ("vdb", "no", "", ""),
    ]


def test_a_checkpoint() -> None:
    read = parse_checkpoint(
        "<domaincheckpoint><name>monday</name><parent><name>sunday</name></parent>"
        "<creationTime>1</creationTime><disks><disk name='vda' checkpoint='bitmap' bitmap='m' size='7'/>"
        "</disks></domaincheckpoint>"
    )
    assert (read.name, read.parent, read.created_us) == ("monday", "sunday", 1_000_000)
    assert [(disk.name, disk.bitmap, disk.size) for disk in read.disks] == [("vda", "m", 7)]


def test_a_filter() -> None:
    read = parse_filter("""
<filter name='web' chain='ipv4' priority='-700'>
  <uuid>2480478b-1809-49fc-af31-5def0498f5b2</uuid>
  <filterref filter='no-spoof'/>
  <rule action='accept' direction='in' priority='-5' statematch='false'>
    <tcp dstportstart='80' match='yes'/>
  </rule>
</filter>""")
    assert (read.name, read.chain, read.priority, read.filters) == ("web", "ipv4", "-700", ("no-spoof",))
    [rule] = read.rules
    assert (rule.action, rule.direction, rule.priority, rule.state_match) == ("accept", "in", "-5", False)
    assert (rule.protocols, rule.matches) == (("tcp",), ("tcp.dstportstart=80", "tcp.match=yes"))


def test_a_binding() -> None:
    read = parse_binding("""
<filterbinding>
  <owner><name>web</name><uuid>43cc98eb-73ae-4e7c-87e7-6312db049dae</uuid></owner>
  <portdev name='vnet0'/><mac address='52:54:00:00:00:AA'/><linkdev name='eth0'/>
  <filterref filter='no-spoof'><parameter name='IP' value='10.0.0.1'/></filterref>
</filterbinding>""")
    assert (read.port, read.filter, read.mac) == ("vnet0", "no-spoof", "52:54:00:00:00:aa")
    assert (read.owner, read.owner_uuid[:8], read.link_device) == ("web", "43cc98eb", "eth0")
    assert read.parameters == ("IP=10.0.0.1",)


def test_a_bridge_of_the_host() -> None:
    read = parse_interface("""
<interface type='bridge' name='br0'>
  <start mode='onboot'/><mtu size='9000'/><mac address='52:54:00:00:00:0B'/>
  <protocol family='ipv4'><dhcp/></protocol>
  <protocol family='ipv6'>
    <autoconf/><ip address='fe80::1' prefix='64'/><ip address='fd00::1' prefix='999'/>
  </protocol>
  <bridge><interface type='ethernet' name='eth0'/><interface type='ethernet' name='eth1'/></bridge>
</interface>""")
    assert (read.type, read.mac, read.mtu, read.start_mode) == (
        "bridge",
        "52:54:00:00:00:0b",
        9000,
        "onboot",
    )
    assert read.ports == ("eth0", "eth1")
    assert read.addresses == (
        HostAddress("ipv4", dhcp=True),
        HostAddress("ipv6", "fe80::1", 64, autoconf=True),
        HostAddress("ipv6", "fd00::1", 128, autoconf=True),
    )


def test_bonds_and_vlans() -> None:
    bond = parse_interface(
        "<interface type='bond' name='bond0'><bond mode='active-backup'>"
        "<interface name='eth0'/></bond><link speed='1000' state='up'/></interface>"
    )
    assert (bond.bond_mode, bond.ports, bond.link_speed, bond.link_state) == (
        "active-backup",
        ("eth0",),
        1000,
        "up",
    )
    unknown = parse_interface("<interface type='ethernet' name='e'><link speed='4294967295'/></interface>")
    assert unknown.link_speed == 0
    vlan = parse_interface(
        "<interface type='vlan' name='eth0.7'><vlan tag='7'><interface name='eth0'/></vlan></interface>"
    )
    assert (vlan.vlan_tag, vlan.vlan_device) == ("7", "eth0")


def test_a_port() -> None:
    assert parse_port("""
<networkport>
  <uuid>d71f0b2e-88ac-4b13-923c-1d873e4c4b74</uuid>
  <owner><name>web</name><uuid>43cc98eb-73ae-4e7c-87e7-6312db049dae</uuid></owner>
  <group>fast</group><mac address='52:54:00:00:00:11'/><plug type='direct' dev='eth0' mode='bridge'/>
</networkport>""") == NetworkPort(
        "d71f0b2e-88ac-4b13-923c-1d873e4c4b74",
        "web",
        "43cc98eb-73ae-4e7c-87e7-6312db049dae",
        "52:54:00:00:00:11",
        "fast",
        "direct",
        "eth0",
        "bridge",
    )


def test_a_tree_has_each_one_s_children() -> None:
    parents = {"a": "", "c": "a", "b": "a", "d": "b", "lost": "not read"}
    assert children_of(parents) == {"a": ("b", "c"), "b": ("d",), "c": (), "d": (), "lost": ()}


@pytest.mark.parametrize("tag", PARSERS)
def test_another_root_is_refused(tag: str) -> None:
    with pytest.raises(BadXml):
        PARSERS[tag]("<other/>")
    PARSERS[tag](f"<{tag}/>")


def test_xml_roots_are_those_that_the_parsers_take() -> None:
    tags = {kind: xml_root(kind) for kind in Kind}
    assert tags[Kind.SNAPSHOT] == "domainsnapshot"
    assert tags[Kind.CHECKPOINT] == "domaincheckpoint"
    assert tags[Kind.VOLUME] == "volume"
    assert tags[Kind.NWFILTER] == "filter"
    assert tags[Kind.NWFILTERBINDING] == "filterbinding"
    assert tags[Kind.INTERFACE] == "interface"
    assert tags[Kind.NODEDEV] == "device"


_WORDS = st.sampled_from(
    [
        *(
            "name",
            "parent",
            "disks",
            "disk",
            "owner",
            "plug",
            "rule",
            "mac",
            "protocol",
            "ip",
            "creationTime",
        ),
        *(
            "target",
            "timestamps",
            "atime",
            "permissions",
            "capacity",
            "encryption",
            "features",
            "backingStore",
        ),
    ]
)
_ATTRIBUTES = st.dictionaries(st.sampled_from(["name", "address", "prefix", "size", "uuid"]), st.text("-1a:"))


def _element(tag: str, attributes: dict[str, str], inner: list[str]) -> str:
    texts = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return f"<{tag}{texts}>{''.join(inner)}</{tag}>"


_TREES = st.recursive(
    st.text("-9a "),
    lambda inner: st.builds(_element, _WORDS, _ATTRIBUTES, st.lists(inner, max_size=3)),
    max_leaves=12,
)


@given(st.sampled_from(sorted(PARSERS.items())), st.lists(_TREES, max_size=4))
def test_odd_values_never_raise(parser: tuple[str, Callable[[str], Any]], inner: list[str]) -> None:
    tag, parse = parser
    parse(f"<{tag}>{''.join(inner)}</{tag}>")

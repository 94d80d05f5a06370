"""Every document in tests/data/networks, and the whole record it makes."""

import pytest

from tests.data import NETWORKS, network_xml
from virtbridge.model.network import Address, DhcpHost, NetworkDefinition, PortGroup
from virtbridge.model.network_xml import parse_network

# Fields that are not named are empty: the dataclasses' defaults.
EXPECTED = {
    "default": NetworkDefinition(
        bridge="virbr0",
        mac="52:54:00:ab:4d:77",
        forward_mode="nat",
        addresses=(
            Address(
                family="ipv4",
                address="192.168.122.1",
                prefix=24,
                dhcp_ranges=("192.168.122.2-192.168.122.254",),
            ),
        ),
    ),
    "dual-stack-pxe": NetworkDefinition(
        title="Installations",
        description="Boots from the network.",
        bridge="virbr3",
        forward_mode="route",
        forward_devices=("eth1",),
        mtu=9000,
        addresses=(
            Address(
                family="ipv4",
                address="192.168.3.1",
                prefix=20,
                dhcp_ranges=("192.168.3.10-192.168.3.99", "192.168.4.10-192.168.4.99"),
                dhcp_hosts=(
                    DhcpHost(mac="00:16:3e:77:e2:ed", name="a.example", address="192.168.3.5"),
                    DhcpHost(name="nameonly", address="192.168.3.6"),
                ),
                tftp_root="/srv/tftp",
                boot_file="pxelinux.0",
            ),
            Address(
                family="ipv6",
                address="2001:db8:ca2:2::1",
                prefix=64,
                dhcp_ranges=("2001:db8:ca2:2:1::10-2001:db8:ca2:2:1::ff",),
                dhcp_hosts=(
                    DhcpHost(
                        id="0:4:7e:7d:f0:7d:a8:bc:c5:d2:13:32:11:ed:16:ea:84:63",
                        name="paul",
                        address="2001:db8:ca2:2:3::4",
                    ),
                ),
            ),
            Address(family="ipv6", address="fd00::1", prefix=64),
        ),
    ),
    "isolated": NetworkDefinition(
        bridge="virbr7",
        forward_mode="isolated",
        dns_domain="lab.example",
        addresses=(
            Address(family="ipv4", address="10.7.0.1", prefix=8),
            Address(family="ipv4", address="172.20.0.1", prefix=16),
            Address(family="ipv4", address="192.0.2.1", prefix=24),
        ),
    ),
    "macvtap-pool": NetworkDefinition(
        forward_mode="passthrough", forward_devices=("eth10", "eth11", "eth12")
    ),
    "odd": NetworkDefinition(
        mac="nonsense",
        forward_mode="nat",
        addresses=(
            Address(family="ipv4"),
            Address(family="ipv4", address="nowhere"),
            Address(family="ipv4", address="10.0.0.1", dhcp_ranges=("-",), dhcp_hosts=(DhcpHost(),)),
        ),
        port_groups=(PortGroup(),),
    ),
    "open": NetworkDefinition(
        bridge="virbr9",
        forward_mode="open",
        addresses=(Address(family="ipv4", address="10.9.0.1", prefix=16),),
    ),
    "openvswitch-vlans": NetworkDefinition(
        bridge="ovsbr0",
        forward_mode="bridge",
        port_groups=(PortGroup(name="plain", default=True), PortGroup(name="trunk", vlans=("42", "47"))),
    ),
    "sriov": NetworkDefinition(
        forward_mode="hostdev", forward_devices=("eth3", "0000:04:10.1", "0000:04:10.3")
    ),
}


def test_every_document_has_its_record() -> None:
    assert sorted(EXPECTED) == NETWORKS


@pytest.mark.parametrize("name", EXPECTED)
def test_document(name: str) -> None:
    assert parse_network(network_xml(name)) == EXPECTED[name]


@pytest.mark.parametrize(
    ("ip", "prefix"),
    [
        ("address='10.0.0.1' netmask='255.255.255.128'", 25),
        ("address='10.0.0.1' prefix='28'", 28),
        ("address='10.0.0.1'", 8),
        ("address='172.16.0.1'", 16),
        ("address='192.168.0.1'", 24),
        ("address='224.0.0.1'", 0),
        ("address='10.0.0.1' netmask='nonsense'", 0),
        ("family='ipv6' address='fd00::1'", 64),
        ("family='ipv6' address='fd00::1' prefix='48'", 48),
    ],
)
def test_prefix(ip: str, prefix: int) -> None:
    (address,) = parse_network(f"<network><ip {ip}/></network>").addresses
    assert address.prefix == prefix


@pytest.mark.parametrize(("mtu", "number"), [("9000", 9000), ("-1", 0), ("x", 0), (str(2**40), 2**32 - 1)])
def test_mtu_fits_its_property(mtu: str, number: int) -> None:
    assert parse_network(f"<network><mtu size='{mtu}'/></network>").mtu == number

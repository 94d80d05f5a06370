"""Every document in tests/data/nodedevs, and the whole record it makes."""

from typing import get_args

import pytest

from tests.data import NODE_DEVICES, document
from virtbridge.model.nodedev import (
    AdjunctProcessor,
    Capability,
    Channel,
    CharacterDevice,
    Drm,
    Mdev,
    MdevType,
    Net,
    NodeDeviceDefinition,
    OtherCapability,
    Pci,
    Scsi,
    ScsiHost,
    ScsiTarget,
    Storage,
    System,
    UsbDevice,
    UsbInterface,
)
from virtbridge.model.nodedev_xml import _DECODERS, parse_node_device

# Fields that are not named are empty: the dataclasses' defaults.
EXPECTED = {
    "ap-card": NodeDeviceDefinition(
        capabilities=("ap_card",), details=(AdjunctProcessor(type="ap_card", adapter="0x05"),)
    ),
    "ap-matrix": NodeDeviceDefinition(
        capabilities=("ap_matrix", "mdev_types"),
        details=(
            AdjunctProcessor(
                type="ap_matrix",
                mdev_types=(
                    MdevType(
                        id="vfio_ap-passthrough",
                        name="VFIO APQN Passthrough Device",
                        device_api="vfio-ap",
                        available_instances=65536,
                    ),
                ),
            ),
        ),
    ),
    "ap-queue": NodeDeviceDefinition(
        capabilities=("ap_queue",),
        details=(AdjunctProcessor(type="ap_queue", adapter="0x05", domain="0x0047"),),
    ),
    "ccw": NodeDeviceDefinition(
        parent="computer", capabilities=("ccw",), details=(Channel(type="ccw", address="0.0.ffff"),)
    ),
    "css": NodeDeviceDefinition(
        parent="computer",
        capabilities=("css", "mdev_types"),
        details=(
            Channel(
                type="css",
                address="fe.0.0070",
                channel_address="fe.0.1234",
                mdev_types=(
                    MdevType(
                        id="vfio_ccw-io",
                        name="I/O subchannel (Non-QDIO)",
                        device_api="vfio-ccw",
                        available_instances=1,
                    ),
                ),
            ),
        ),
    ),
    "drm": NodeDeviceDefinition(
        parent="pci_0000_00_02_0",
        device_node="/dev/dri/renderD129",
        device_links=("/dev/dri/by-path/pci-0000:00:02.0-render",),
        capabilities=("drm",),
        details=(Drm(kind="render"),),
    ),
    "mdev": NodeDeviceDefinition(
        parent="pci_0000_00_02_0",
        driver="vfio_mdev",
        capabilities=("mdev",),
        details=(
            Mdev(
                mdev_type="i915-GVTg_V5_4",
                uuid="3627463d-b7f0-4fea-b468-f1da537d301b",
                parent_address="0000:00:02.0",
                iommu_group="12",
                attributes=("assign_adapter=5", "assign_domain=0x47"),
            ),
        ),
    ),
    "net-wireless": NodeDeviceDefinition(
        capabilities=("net", "80211"),
        details=(Net(interface="wlan0", mac="00:1c:bf:00:00:01", link_type="80211", link_state="down"),),
    ),
    "net": NodeDeviceDefinition(
        parent="pci_0000_00_03_0",
        path="/sys/devices/pci0000:00/0000:00:03.0/virtio2/net/eth0",
        capabilities=("net", "80203"),
        details=(
            Net(
                interface="eth0",
                mac="52:54:00:ab:4d:77",
                link_type="80203",
                link_state="up",
                link_speed_mbps=1000,
                features=("rx", "tx"),
            ),
        ),
    ),
    "odd": NodeDeviceDefinition(
        capabilities=("wormhole", "net", "pci", "css"),
        details=(
            OtherCapability(type="wormhole"),
            OtherCapability(),
            Pci(),
            Net(mac="nonsense"),
            Channel(type="css"),
        ),
    ),
    "pci-gpu": NodeDeviceDefinition(
        parent="computer",
        driver="i915",
        capabilities=("pci", "mdev_types", "pci-bridge"),
        details=(
            Pci(
                address="0000:00:02.0",
                class_id="0x030000",
                vendor_id="0x8086",
                vendor="Intel Corporation",
                product_id="0x591d",
                product="HD Graphics P630",
                bridge="pci-bridge",
                mdev_types=(
                    MdevType(
                        id="i915-GVTg_V5_4", name="GVTg_V5_4", device_api="vfio-pci", available_instances=1
                    ),
                    MdevType(id="i915-GVTg_V5_8", device_api="vfio-pci"),
                ),
            ),
        ),
    ),
    "pci-sriov": NodeDeviceDefinition(
        parent="pci_0000_40_02_0",
        path="/sys/devices/pci0000:40/0000:40:02.0/0000:42:00.0",
        driver="mlx5_core",
        capabilities=("pci", "virt_functions", "vpd"),
        details=(
            Pci(
                address="0000:42:00.0",
                class_id="0x020000",
                vendor_id="0x15b3",
                vendor="Mellanox Technologies",
                product_id="0x101d",
                product="MT2892 Family [ConnectX-6 Dx]",
                numa_node="1",
                iommu_group="0",
                iommu_devices=("0000:42:00.0",),
                virtual_functions=("0000:42:00.2", "0000:42:00.3"),
                virtual_functions_maximum=8,
                express=True,
                link_speed="8",
                link_width=8,
                vpd_name="ConnectX-6 Dx EN adapter card",
            ),
        ),
    ),
    "pci-vf": NodeDeviceDefinition(
        parent="pci_0000_40_02_0",
        capabilities=("pci", "phys_function"),
        details=(
            Pci(
                address="0000:42:00.2",
                vendor_id="0x15b3",
                product_id="0x101e",
                physical_function="0000:42:00.0",
                express=True,
            ),
        ),
    ),
    "scsi-generic": NodeDeviceDefinition(
        device_node="/dev/sg0",
        capabilities=("scsi_generic",),
        details=(CharacterDevice(type="scsi_generic", node="/dev/sg0"),),
    ),
    "scsi-host": NodeDeviceDefinition(
        parent="computer",
        capabilities=("scsi_host", "fc_host", "vport_ops"),
        details=(
            ScsiHost(
                host=1,
                unique_id="0",
                wwnn="2000000012341234",
                wwpn="1000000012341234",
                fabric_wwn="2000000043214321",
                vport_ops=True,
                vports=1,
                vports_maximum=127,
            ),
        ),
    ),
    "scsi-target": NodeDeviceDefinition(
        parent="scsi_host0",
        capabilities=("scsi_target", "fc_remote_port"),
        details=(ScsiTarget(target="target0:0:0", rport="rport-0:0-0", wwpn="0x9d73bc45f0e21a86"),),
    ),
    "scsi": NodeDeviceDefinition(
        parent="scsi_target1_2_1",
        driver="sd",
        capabilities=("scsi",),
        details=(Scsi(host=1, bus=2, target=1, lun=3, kind="disk"),),
    ),
    "storage-cdrom": NodeDeviceDefinition(
        capabilities=("storage", "removable"),
        details=(
            Storage(
                block="/dev/sr0",
                drive_type="cdrom",
                size=700000000,
                block_size=2048,
                removable=True,
                media_available=True,
                media_label="Debian 12",
            ),
        ),
    ),
    "storage": NodeDeviceDefinition(
        parent="scsi_0_0_0_0",
        path="/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda",
        device_node="/dev/sda",
        device_links=("/dev/disk/by-id/ata-SAMSUNG", "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"),
        capabilities=("storage", "hotpluggable"),
        details=(
            Storage(
                block="/dev/sda",
                bus="ata",
                drive_type="disk",
                vendor="ATA",
                model="SAMSUNG HD103SJ",
                serial="S246J90B",
                size=1000204886016,
                block_size=512,
                hotpluggable=True,
                media_available=True,
            ),
        ),
    ),
    "system": NodeDeviceDefinition(
        capabilities=("system",),
        details=(
            System(
                product="ThinkStation",
                vendor="LENOVO",
                version="P520",
                serial="S4ABC",
                uuid="c7a5fdbd-edaf-9455-926a-d65c16db1809",
                firmware_vendor="LENOVO",
                firmware_version="S03KT51A",
                firmware_date="09/08/2021",
            ),
        ),
    ),
    "usb-device": NodeDeviceDefinition(
        parent="usb_usb1",
        path="/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2",
        driver="usb",
        device_node="/dev/bus/usb/001/002",
        capabilities=("usb_device",),
        details=(
            UsbDevice(
                bus=1,
                device=2,
                vendor_id="0x8087",
                vendor="Intel Corp.",
                product_id="0x0024",
                product="Integrated Rate Matching Hub",
            ),
        ),
    ),
    "usb-interface": NodeDeviceDefinition(
        parent="usb_1_2",
        capabilities=("usb",),
        details=(UsbInterface(number=1, class_id=3, subclass_id=1, protocol=2, description="Mouse"),),
    ),
    "vdpa": NodeDeviceDefinition(
        driver="vhost_vdpa",
        capabilities=("vdpa",),
        details=(CharacterDevice(type="vdpa", node="/dev/vhost-vdpa-0"),),
    ),
}


def test_every_document_has_its_record() -> None:
    assert sorted(EXPECTED) == NODE_DEVICES


@pytest.mark.parametrize("name", EXPECTED)
def test_document(name: str) -> None:
    assert parse_node_device(document("nodedevs", name)) == EXPECTED[name]


def test_every_type_has_a_document() -> None:
    seen = {type(each) for definition in EXPECTED.values() for each in definition.details}
    assert seen == set(get_args(Capability))
    types = {each.type for definition in EXPECTED.values() for each in definition.details}
    assert types >= _DECODERS.keys()

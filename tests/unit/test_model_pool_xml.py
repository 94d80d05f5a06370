"""Every document in tests/data/pools, and the whole record it makes."""

import pytest

from tests.data import POOLS, document
from virtbridge.model.pool import PoolDefinition
from virtbridge.model.pool_xml import parse_pool

# Fields that are not named are empty: the dataclasses' defaults.
EXPECTED = {
    "dir": PoolDefinition(
        type="dir",
        capacity_bytes=12638031872,
        allocation_bytes=1003520,
        available_bytes=12637028352,
        target_path="/var/lib/libvirt/images",
        target_mode="0711",
        target_owner="0",
        target_group="0",
        target_label="virt_image_t",
    ),
    "iscsi-direct": PoolDefinition(
        type="iscsi-direct",
        source_hosts=("iscsi.example:3260",),
        source_devices=("iqn.2013-06.example:target",),
        source_initiator="iqn.2013-06.example:me",
        source_vendor="Acme",
        source_product="Rocket",
        auth_type="chap",
        auth_username="me",
        auth_secret="iscsi-password",
    ),
    "logical": PoolDefinition(
        type="logical",
        source_name="vg0",
        source_devices=("/dev/sdb1", "/dev/sdc1"),
        source_format="lvm2",
        target_path="/dev/vg0",
    ),
    "netfs": PoolDefinition(
        type="netfs",
        source_hosts=("nas.example",),
        source_directory="/export/isos",
        source_format="nfs",
        target_path="/mnt/isos",
        target_mode="0755",
    ),
    "odd": PoolDefinition(
        available_bytes=18446744073709551615,
        source_hosts=("",),
        source_devices=("",),
        source_adapter="5001a4aaf3ca174b:5001a4a77192b864",
    ),
    "rbd": PoolDefinition(
        type="rbd",
        capacity_bytes=3298534883328,
        allocation_bytes=1000000000,
        available_bytes=77,
        source_name="rbd",
        source_hosts=("mon1.example:6789", "[2001:db8::1]:6789", "2001:db8::2"),
        auth_type="ceph",
        auth_username="admin",
        auth_secret="2ec115d7-3a88-3ceb-bc12-0ac909a6fd87",
    ),
    "scsi": PoolDefinition(type="scsi", source_adapter="0000:00:1f.2/2", target_path="/dev/disk/by-path"),
}


def test_every_document_has_its_record() -> None:
    assert sorted(EXPECTED) == POOLS


@pytest.mark.parametrize("name", EXPECTED)
def test_document(name: str) -> None:
    assert parse_pool(document("pools", name)) == EXPECTED[name]

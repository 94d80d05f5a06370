"""Every document in tests/data/volumes, and the whole record it makes; and the chain that volumes form."""

import pytest

from tests.data import VOLUMES, document
from virtbridge.model.keys import Key, Kind
from virtbridge.model.storage_xml import Permissions
from virtbridge.model.volumes import (
    CHAIN_MAX,
    VolumeDefinition,
    chain_of,
    link_of,
    parse_volume,
)

# Fields that are not named are empty: the dataclasses' defaults.
EXPECTED = {
    "qcow2": VolumeDefinition(
        name="top.qcow2",
        key="/pool/top.qcow2",
        path="/pool/top.qcow2",
        type="file",
        capacity_bytes=16777216,
        allocation_bytes=200704,
        physical_bytes=196616,
        format="qcow2",
        compat="1.1",
        cluster_size_bytes=65536,
        features=("lazy-refcounts", "extended-l2"),
        backing_path="/pool/mid.qcow2",
        backing_format="qcow2",
        permissions=Permissions("0644", "0", "107", "virt_image_t"),
        access_time_us=1795425615_230977,
        modification_time_us=1795425615_226977,
        change_time_us=1795425615_000000,
    ),
    "luks": VolumeDefinition(
        name="secret.img",
        key="/pool/secret.img",
        path="/pool/secret.img",
        type="file",
        capacity_bytes=1 << 30,
        allocation_bytes=4096,
        format="raw",
        encryption="luks",
        encryption_secret="f52a81b2-424e-490c-823d-6bd4235bc572",
        permissions=Permissions("0600"),
    ),
    "logical": VolumeDefinition(
        name="snap",
        key="t3Yx2P-EOJn-lF5K-1f9e-vkMi-3D4S-A0P8bO",
        path="/dev/vg0/snap",
        type="block",
        capacity_bytes=1 << 30,
        allocation_bytes=1 << 30,
        backing_path="/dev/vg0/root",
        source_devices=("/dev/sdb1", "/dev/sdc1"),
    ),
    "rbd": VolumeDefinition(
        name="disk",
        key="rbd/disk",
        path="rbd/disk",
        type="network",
        capacity_bytes=2**64 - 1,
        allocation_bytes=7,
        format="raw",
    ),
    "odd": VolumeDefinition(
        name="twice",
        modification_time_us=7_000_000,
        change_time_us=2**64 - 1,
        encryption="default",
        encryption_secret="/pool/odd",
        source_devices=("",),
    ),
}


def test_every_document_has_its_record() -> None:
    assert sorted(EXPECTED) == VOLUMES


@pytest.mark.parametrize("name", EXPECTED)
def test_document(name: str) -> None:
    assert parse_volume(document("volumes", name)) == EXPECTED[name]


def volume(path: str, backing: str = "", backing_format: str = "") -> VolumeDefinition:
    return VolumeDefinition(path=path, format="qcow2", backing_path=backing, backing_format=backing_format)


def key(path: str) -> Key:
    return Key("lab", Kind.VOLUME, path, "pool")


def chain(top: VolumeDefinition, *known: VolumeDefinition) -> list[tuple[str, str, Key | None]]:
    places = {each.path: (key(each.path), link_of(each)) for each in known}
    return [(each.path, each.format, each.volume) for each in chain_of(link_of(top), places.get)]


def test_a_chain_goes_as_far_as_volumes_are_known() -> None:
    top, middle, base = volume("/t", "/m", "qcow2"), volume("/m", "/p/../b", "raw"), volume("/b")
    assert chain(base) == []
    assert chain(top) == [("/m", "qcow2", None)]
    assert chain(top, middle) == [("/m", "qcow2", key("/m")), ("/p/../b", "raw", None)]
    # A path is found however it is spelled, and what a volume says of itself is believed.
    assert chain(top, middle, base) == [("/m", "qcow2", key("/m")), ("/p/../b", "qcow2", key("/b"))]


def test_a_chain_that_bites_its_own_tail_ends() -> None:
    one, two = volume("/1", "/2"), volume("/2", "/1")
    assert chain(one, one, two) == [("/2", "qcow2", key("/2")), ("/1", "qcow2", key("/1"))]
    alone = volume("/1", "/1")
    assert chain(alone, alone) == [("/1", "qcow2", key("/1"))]


def test_a_chain_has_a_length_at_which_nobody_follows_it() -> None:
    volumes = [volume(f"/{number}", f"/{number + 1}") for number in range(CHAIN_MAX * 2)]
    assert len(chain(volumes[0], *volumes)) == CHAIN_MAX

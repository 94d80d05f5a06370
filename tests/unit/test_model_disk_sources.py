"""What a disk can be found by, however its source is spelled."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import domain_xml
from virtbridge.model.disk_sources import backing_sources, disk_sources, normal_source, source_text
from virtbridge.model.domain import Disk
from virtbridge.model.domain_xml import parse_domain


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("/images/a.qcow2", "/images/a.qcow2"),
        ("//images///a.qcow2", "/images/a.qcow2"),
        ("/images/./x/../a.qcow2", "/images/a.qcow2"),
        ("/../images/a.qcow2/", "/images/a.qcow2"),
        ("/", "/"),
        ("//", "/"),
        ("/dev/../dev/vg/base", "/dev/vg/base"),
        ("/Images/A", "/Images/A"),
        ("default/a.qcow2", "default/a.qcow2"),
        ("https:/a/b.iso", "https:a/b.iso"),
        ("https://w//a/b.iso", "https://w/a/b.iso"),
        ("default//../a", "default//../a"),  # a volume's name is a name, not a path
        ("rbd:pool/Image", "rbd:pool/Image"),
        ("rbd://MON.Example:6789/pool/Image", "rbd://mon.example:6789/pool/Image"),
        ("nbd+unix:///export?socket=/run/NBD.sock", "nbd+unix:///export?socket=/run/NBD.sock"),
        ("nvme://0000:01:00.0/1", "nvme://0000:01:00.0/1"),
        ("/odd://name", "/odd:/name"),
        ("rbd://no-name", "rbd://no-name/"),
        ("", ""),
    ],
)
def test_one_spelling(text: str, normal: str) -> None:
    assert normal_source(text) == normal


@given(st.text())
def test_normal_is_normal(text: str) -> None:
    assert normal_source(normal_source(text)) == normal_source(text)


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "c d"])))
def test_paths_stay_absolute_and_lose_what_says_nothing(parts: list[str]) -> None:
    path = normal_source("/" + "/".join(parts))
    assert path == posixpath.normpath("/" + path.lstrip("/"))
    assert not {"", ".", ".."} & set(path[1:].split("/")) or path == "/"


def disk_of(document: str, target: str) -> Disk:
    (disk,) = (disk for disk in parse_domain(domain_xml(document)).disks if disk.target == target)
    return disk


@pytest.mark.parametrize(
    ("document", "target", "sources"),
    [
        ("backing-chains", "vda", ["/images/chains/top.qcow2"]),
        ("backing-chains", "vdb", ["/images/copying.qcow2", "/copies/new.qcow2"]),
        (
            "backing-chains",
            "sda",
            [
                "/dev/disk/by-id/scsi-shared",
                "rbd:pool/copy",
                "rbd://mon1:6789,mon2:6789/pool/copy",
                "rbd://mon1:6789/pool/copy",
                "rbd://mon1/pool/copy",
                "rbd://mon2:6789/pool/copy",
                "rbd://mon2/pool/copy",
            ],
        ),
        ("uefi-running", "sda", []),
        (
            "network-disks",
            "vda",
            [
                f"{place}vms/net-root{behind}"
                for behind in ("@snap:conf=/etc/ceph/ceph.conf", "@snap", "")
                for place in (
                    "rbd:",
                    "rbd://mon1.example:6789,[2001:db8::17]:6789,mon3.example/",
                    "rbd://mon1.example:6789/",
                    "rbd://mon1.example/",
                    "rbd://[2001:db8::17]:6789/",
                    "rbd://[2001:db8::17]/",
                    "rbd://mon3.example/",
                )
            ],
        ),
        ("network-disks", "vdb", ["rbd:vms/no-host"]),
        ("network-disks", "vdc", ["nbd:export", "nbd+unix:///export?socket=/run/nbd.sock"]),
        (
            "network-disks",
            "sda",
            [
                "iscsi:iqn.2013-07.com.example:iscsi-nopool/2",
                "iscsi://san.example/iqn.2013-07.com.example:iscsi-nopool/2",
                "iscsi://san.example:3260/iqn.2013-07.com.example:iscsi-nopool/2",
            ],
        ),
        ("network-disks", "vdd", ["default/data.qcow2"]),
        ("network-disks", "vde", ["nvme://0000:01:00.0/1"]),
        ("network-disks", "vdf", ["/tmp/vhost-blk.sock"]),
        ("network-disks", "vdh", []),
    ],
)
def test_a_disk_is_found_by_every_spelling(document: str, target: str, sources: list[str]) -> None:
    found = disk_sources(disk_of(document, target))
    assert list(found) == sources
    assert [normal_source(source) for source in found] == sources


def test_what_lies_below_the_top_is_found() -> None:
    assert backing_sources(disk_of("backing-chains", "vda")) == (
        "/images/chains/middle.qcow2",
        "/dev/vg/base",
        "nbd:golden",
        "nbd://store.example:10809/golden",
        "nbd://store.example/golden",
    )
    assert backing_sources(disk_of("backing-chains", "vdb")) == ("gold/debian-12.qcow2",)
    assert backing_sources(disk_of("backing-chains", "sdb")) == ()


@pytest.mark.parametrize("target", ["vda", "vdb", "sda"])
def test_what_a_disk_shows_finds_it(target: str) -> None:
    """The backing chain and the mirror, asked for as the bus shows them."""
    disk = disk_of("backing-chains", target)
    assert {normal_source(text) for text in disk.backing} <= set(backing_sources(disk))
    assert not disk.mirror or normal_source(disk.mirror) in disk_sources(disk)


@pytest.mark.parametrize("name", ["/exp/a.img", "exp/a.img"])
def test_a_name_is_found_with_a_slash_before_it_and_without(name: str) -> None:
    (disk,) = parse_domain(
        "<domain><devices><disk type='network'><target dev='vda'/>"
        f"<source protocol='nfs' name='{name}'><host name='h'/></source></disk></devices></domain>"
    ).disks
    for spelling in ("nfs://h/exp/a.img", "nfs://h//exp/a.img", "nfs:/exp/a.img", "nfs:exp/a.img"):
        assert normal_source(spelling) in disk_sources(disk)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("https://h.example:443/a/b.iso?x=1", ["vda"]),
        ("https://h.example/a/b.iso?x=2", ["vdb"]),
        ("https:a/b.iso?x=2", ["vdb"]),
        ("https://h.example/a/b.iso", ["vda", "vdb"]),
        ("https:/a/b.iso", ["vda", "vdb"]),
        ("https://h.example/a/b.iso?x=3", []),
        ("https://h.example/a/b.iso?", []),
    ],
)
def test_a_query_tells_two_disks_apart(source: str, found: list[str]) -> None:
    disks = parse_domain(domain_xml("disk-https-query")).disks
    assert [disk.target for disk in disks if normal_source(source) in disk_sources(disk)] == found


@pytest.mark.parametrize(
    ("snapshot", "found"), [("", ["a", "b", "c"]), ("@one", ["a"]), ("@two", ["b", "c"]), ("@three", [])]
)
def test_a_snapshot_tells_two_disks_apart(snapshot: str, found: list[str]) -> None:
    """However libvirt heard of it: as an element, or as a part of the name, which QEMU takes as well."""

    def disk(target: str, name: str, inside: str) -> str:
        return (
            f"<disk type='network'><source protocol='rbd' name='{name}'>{inside}</source>"
            f"<target dev='{target}'/></disk>"
        )

    written = (
        disk("a", "vms/i", "<snapshot name='one'/>")
        + disk("b", "vms/i", "<snapshot name='two'/><host name='mon'/>")
        + disk("c", "vms/i@two", "")
    )
    disks = parse_domain(f"<domain><devices>{written}</devices></domain>").disks
    wanted = normal_source(f"rbd:vms/i{snapshot}")
    assert [each.target for each in disks if wanted in disk_sources(each)] == found


def test_below_the_top_query_and_snapshot_are_known_too() -> None:
    assert backing_sources(disk_of("disk-sources", "vdd")) == (
        "https:base.iso?part=1&of=2",
        "https://mirror.example/base.iso?part=1&of=2",
        "https://mirror.example:443/base.iso?part=1&of=2",
        "https:base.iso",
        "https://mirror.example/base.iso",
        "https://mirror.example:443/base.iso",
        "rbd:vms/gold@v1",
        "rbd:vms/gold",
    )


def test_an_empty_source_is_never_found() -> None:
    empty = parse_domain(
        "<domain><devices><disk/><disk type='volume'/><disk type='network'/></devices></domain>"
    )
    assert [disk_sources(disk) for disk in empty.disks] == [(), (), ()]


@given(st.text(), st.text(), st.lists(st.text(min_size=1), max_size=3), st.text(), st.text(), st.text())
def test_any_disk_has_normal_spellings(
    source: str, protocol: str, hosts: list[str], pool: str, mirror: str, below: str
) -> None:
    for kind in ("file", "network", "volume"):
        disk = Disk(
            type=kind,
            source=source,
            protocol=protocol if kind == "network" else "",
            hosts=tuple(hosts),
            pool=pool,
            mirror=mirror,
            backing=(source_text(protocol, tuple(hosts), source), below or "x"),
        )
        for spelling in (*disk_sources(disk), *backing_sources(disk)):
            assert normal_source(spelling) == spelling

"""Definitions that libvirt has and nobody can read: the reason is shown where a client searches for them."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.asked import Asked
from tests.support.libvirtd import Libvirtd, is_available, qemu_xml
from tests.support.requested import request
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key, Kind

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

NOT_UTF8 = "invalid xml: it is not UTF-8"


def entitle(host: Libvirtd, name: str, title: bytes) -> None:
    """libvirt takes any bytes for a title, and puts them into its XML."""
    words = ["virsh", "-q", "-c", host.qemu_uri, "desc", name, "--title", "--config", "--new-desc"]
    subprocess.run([*map(os.fsencode, words), title], check=True)


async def test_a_domain_that_was_never_readable(host: Libvirtd, other: Any, source: Asked) -> None:
    domain = other.defineXML(qemu_xml("odd"))
    entitle(host, "odd", b"t\xfftle")
    await source.ready(host.qemu_uri)
    known = source.domain(domain.UUIDString())
    assert (known.name, known.state, known.xml, known.problem) == ("odd", "shutoff", "", NOT_UTF8)
    with pytest.raises(BridgeError) as asked:
        await source.connections.operate(request(Key("c", Kind.DOMAIN, known.uuid), "get-xml", 2))
    assert (asked.value.kind, asked.value.message) == (
        ErrorKind.OPERATION_FAILED, f"libvirt's answer: {NOT_UTF8}"
    )  # fmt: skip
    entitle(host, "odd", b"title")
    await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
    known = source.domain(known.uuid)
    assert (known.problem, known.definition.title) == ("", "title")


async def test_a_domain_that_no_longer_is_keeps_what_was_read(
    host: Libvirtd, other: Any, source: Asked
) -> None:
    domain = other.defineXML(qemu_xml("odd"))
    entitle(host, "odd", b"title")
    await source.ready(host.qemu_uri)
    entitle(host, "odd", b"t\xfftle")
    await source.until(lambda: source.domain(domain.UUIDString()).problem)
    known = source.domain(domain.UUIDString())
    assert (known.problem, known.definition.title) == (NOT_UTF8, "title")


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    """In a folder with one whose name is UTF-8."""
    (tmp_path / "good.img").write_bytes(b"x" * 100)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.img"))
    odd.write_bytes(b"x" * 100)
    return odd


async def test_a_pool_says_which_volumes_are_left_out(
    host: Libvirtd, other: Any, source: Asked, odd_file: Path
) -> None:
    target = f"<target><path>{odd_file.parent}</path></target>"
    pool = other.storagePoolDefineXML(f"<pool type='dir'><name>p</name>{target}</pool>")
    pool.create()
    key = Key("c", Kind.POOL, pool.UUIDString())
    await source.ready(host.qemu_uri)

    async def unreadable() -> Any:
        await source.requests.load(key, Kind.VOLUME, 0)
        assert list(source.found(Kind.VOLUME)) == ["good.img"]
        return getattr(source.cache.get(key), "unreadable", None)

    assert await unreadable() == ("volume: 1 of them have a name that is not UTF-8",)
    os.unlink(odd_file)
    pool.refresh()
    assert await unreadable() == ()

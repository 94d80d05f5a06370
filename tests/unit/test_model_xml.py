"""The parser is hardened, and whatever it is given, it gives a record or BadXml."""

import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.data import (
    DOMAINS,
    NETWORKS,
    NODE_DEVICES,
    ON_DEMAND,
    POOLS,
    SECRETS,
    VOLUMES,
    document,
    domain_xml,
    names,
)
from virtbridge.model import xml as model_xml
from virtbridge.model.answers import parse_port
from virtbridge.model.disk_sources import backing_sources, disk_sources
from virtbridge.model.domain import DomainDefinition
from virtbridge.model.domain_xml import parse_domain
from virtbridge.model.host_interface import parse_interface
from virtbridge.model.network_xml import parse_network
from virtbridge.model.nodedev_xml import parse_node_device
from virtbridge.model.nwfilters import parse_filter
from virtbridge.model.pool_xml import parse_pool
from virtbridge.model.secret import parse_secret
from virtbridge.model.snapshots import parse_checkpoint, parse_snapshot
from virtbridge.model.volumes import parse_volume
from virtbridge.model.xml import MAX_BYTES, BadXml

BILLION_LAUGHS = (
    "<!DOCTYPE domain [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{n + 1} '{f'&a{n};' * 10}'>" for n in range(12))
    + "]>"
)


@pytest.mark.parametrize(
    "prolog",
    [
        "<!DOCTYPE domain>",
        "<?xml version='1.0'?>\n<!DOCTYPE domain>",
        "<!-- a --><?b?>\n<!-- <c --><!DOCTYPE domain>",
        "\ufeff<!DOCTYPE domain>",
        "<!DOCTYPE domain SYSTEM 'http://127.0.0.1:1/x.dtd'>",
        pytest.param(BILLION_LAUGHS, id="billion-laughs"),
    ],
)
def test_a_doctype_is_refused(prolog: str) -> None:
    with pytest.raises(BadXml, match="domain: a DOCTYPE is refused"):
        parse_domain(f"{prolog}<domain><memory>1</memory></domain>")


def test_a_doctype_is_refused_before_it_is_parsed() -> None:
    with mock.patch.object(model_xml.etree, "fromstring") as parse, pytest.raises(BadXml):
        parse_domain(f"{BILLION_LAUGHS}<domain title='&a12;'><title>&a12;</title></domain>")
    parse.assert_not_called()


def test_the_parser_itself_expands_nothing_and_opens_no_file(tmp_path: Path) -> None:
    """Behind the refusal stands a parser that would be harmless without it."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    bad = f"<!DOCTYPE d [<!ENTITY x SYSTEM 'file://{secret}'><!ENTITY y 'why'>]><d><t>&x;&y;</t></d>"
    root = etree.fromstring(bad.encode(), model_xml._parser())
    assert "secret" not in repr([element.text for element in root.iter(etree.Element)])
    assert root.find("t").text is None
    assert [entity.text for entity in root.iter(etree.Entity)] == ["&x;", "&y;"]


def test_a_doctype_in_a_text_or_behind_the_root_is_none() -> None:
    for inside in ("<title><![CDATA[<!DOCTYPE domain>]]></title>", "<!-- <!DOCTYPE domain> -->"):
        parse_domain(f"<?xml version='1.0'?><!-- x --><domain>{inside}</domain>")


def test_many_comments_before_the_root_do_not_slow_the_search() -> None:
    comments = "<!--" + "--><!--" * 100_000
    with pytest.raises(BadXml):
        parse_domain(comments + "<!DOCTYPE")


@pytest.mark.parametrize("declared", ["UTF-8", "utf-16", "ISO-8859-1", "ascii"])
def test_a_declared_encoding_is_not_believed(declared: str) -> None:
    text = f"<?xml version='1.0' encoding='{declared}'?><domain><title>Größe 測試</title></domain>"
    assert parse_domain(text).title == "Größe 測試"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not well-formed"),
        ("   ", "not well-formed"),
        ("domain", "not well-formed"),
        ("<domain>", "not well-formed"),
        ("<domain></network>", "not well-formed"),
        ("<domain>&nbsp;</domain>", "not well-formed"),
        ("<domain>\x00</domain>", "not well-formed"),
        ("<domain/><domain/>", "not well-formed"),
        ("<domain>\ud800</domain>", "not encodable"),
        ("<network/>", "the root element is another one"),
        ("<domain xmlns='urn:other'/>", "the root element is another one"),
        pytest.param("<d>" * 300 + "</d>" * 300, "not well-formed", id="deep"),
    ],
)
def test_what_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(BadXml, match=f"^domain: .*{reason}"):
        parse_domain(text)


def test_the_message_holds_none_of_the_text() -> None:
    for text in ("<domain><secret></other>", "<secret/>", "<domain><memory>secret</memory></domain>"):
        with pytest.raises(BadXml) as caught:
            parse_domain(text)
        assert "secret" not in str(caught.value)


def test_the_limit_counts_bytes_and_a_document_at_the_limit_is_read() -> None:
    frame = "<domain><!----></domain>"
    assert (
        parse_domain(frame.replace("----", "--" + "x" * (MAX_BYTES - len(frame)) + "--")).vcpus_maximum == 1
    )
    with pytest.raises(BadXml, match="bytes are more than"):
        parse_domain(frame.replace("----", "--" + "ö" * (MAX_BYTES // 2) + "--"))


def test_threads_read_side_by_side() -> None:
    documents = [domain_xml(name) for name in DOMAINS] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(parse_domain, documents)) == [parse_domain(text) for text in documents]


PARSERS: dict[str, Callable[[str], Any]] = {
    "domain": parse_domain,
    "network": parse_network,
    "pool": parse_pool,
    "volume": parse_volume,
    "device": parse_node_device,
    "secret": parse_secret,
    "networkport": parse_port,
    "domainsnapshot": parse_snapshot,
    "domaincheckpoint": parse_checkpoint,
    "filter": parse_filter,
    "interface": parse_interface,
}


def check(text: str) -> None:
    """A record whose values fit the bus, or BadXml: nothing else."""
    root = re.match("<([a-z]+)[ >/]", text)
    of_root = PARSERS.get(root[1]) if root else None
    for parse in (of_root,) if of_root is not None else PARSERS.values():
        try:
            definition: Any = parse(text)
        except BadXml:
            continue
        assert hash(definition) == hash(parse(text))
        if isinstance(definition, DomainDefinition):
            assert 0 <= definition.memory_current_bytes < 2**64
            assert 0 <= definition.vcpus_current < 2**32
            for disk in definition.disks:
                assert 0 <= disk.boot_order < 2**64
                assert "" not in (*disk_sources(disk), *backing_sources(disk))
            check_devices((*definition.disks, *definition.interfaces, *definition.host_devices))


def check_devices(devices: tuple[Any, ...]) -> None:
    for device in devices:
        for each in fields(device):
            value = getattr(device, each.name)
            assert isinstance(value, type(each.default)), each.name
            assert not isinstance(value, int) or 0 <= value < 2**64, each.name
        address = getattr(device, "address", "")
        assert not address or re.fullmatch(r"[0-9a-f]{4,}:[0-9a-f]{2,}:[0-9a-f]{2,}\.[0-9a-f]+", address)


@given(st.text(), st.sampled_from(sorted(PARSERS)))
def test_any_text(text: str, tag: str) -> None:
    check(text)
    check(f"<{tag}>{text}</{tag}>")


_WORDS = """
    domain os type loader devices disk source backingStore mirror target driver interface mac vlan tag
    graphics listen hostdev address vendor product adapter filesystem channel memory vcpu network ip dhcp
    range host forward portgroup mtu boot alias capability path devnode parent iommuGroup numa link size
    pci-express capacity allocation available permissions auth secret adapter parentaddr initiator usage name
    media_size plug snapshot query config identity slices slice iqn wwpn char block local owner
"""
_ATTRIBUTES = """
    type name dev file dir protocol port mode bus slot function domain id unit current firmware prefix netmask
    family size order address socket transport namespace pool volume state tray query user offset target
    unit cssid devno uuid device wwpn portid switchid path network bridge
"""
WORDS, ATTRIBUTES = _WORDS.split(), _ATTRIBUTES.split()
VALUES = [
    "",
    "-1",
    "0x10",
    "file",
    "network",
    "net",
    "mdev_types",
    "volume",
    "nvme",
    "pci",
    "usb",
    "scsi",
    "hostdev",
    "ccw",
    "vhostuser",
    "udp",
    "unix",
    "/",
    "a/b",
    "9" * 30,
]


def elements() -> st.SearchStrategy[str]:
    attributes = st.dictionaries(st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES), max_size=3)

    def build(name: str, attributes: dict[str, str], inside: list[str]) -> str:
        written = "".join(f' {key}="{value}"' for key, value in attributes.items())
        return f"<{name}{written}>{''.join(inside)}</{name}>"

    leaf = st.builds(build, st.sampled_from(WORDS), attributes, st.just([]) | st.just(["1"]))
    return st.recursive(
        leaf, lambda inner: st.builds(build, st.sampled_from(WORDS), attributes, st.lists(inner, max_size=4))
    )


@given(st.lists(elements(), max_size=6), st.sampled_from(sorted(PARSERS)))
def test_any_elements(inside: list[str], tag: str) -> None:
    body = "".join(inside)
    check(f"<domain><devices>{body}</devices></domain>")
    check(f"<{tag}>{body}</{tag}>")


def mutate(root: Any, chance: random.Random) -> None:
    """One change: an element gone, doubled, moved or renamed, a text or an attribute garbled or gone."""
    victim = chance.choice([element for element in root.iter(etree.Element) if element is not root] or [root])
    parent = victim.getparent()
    match chance.randrange(7):
        case 0 if parent is not None:
            parent.remove(victim)
        case 1 if parent is not None:
            parent.append(etree.fromstring(etree.tostring(victim, with_tail=False)))
        case 2 if parent is not None:
            root.append(victim)
        case 3:
            victim.tag = chance.choice(WORDS)
        case 4:
            victim.text = chance.choice(VALUES)
        case 5 if victim.attrib:
            del victim.attrib[chance.choice(victim.attrib.keys())]
        case _:
            names = victim.attrib.keys() or ATTRIBUTES
            victim.set(chance.choice(names), chance.choice(VALUES))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *(("domains", name) for name in DOMAINS),
        *(("networks", name) for name in NETWORKS),
        *(("pools", name) for name in POOLS),
        *(("volumes", name) for name in VOLUMES),
        *(("nodedevs", name) for name in NODE_DEVICES),
        *(("secrets", name) for name in SECRETS),
        *((folder, name) for folder in ON_DEMAND for name in names(folder)),
    ],
)
@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_a_mutated_document(folder: str, name: str, chance: random.Random, changes: int) -> None:
    text = document(folder, name)
    root = etree.fromstring(text.encode(), etree.XMLParser(encoding="utf-8", remove_comments=True))
    for _ in range(changes):
        mutate(root, chance)
    check(etree.tostring(root, encoding="unicode"))


@pytest.mark.parametrize("name", DOMAINS)
@given(st.data())
def test_a_garbled_text(name: str, data: st.DataObject) -> None:
    text = domain_xml(name)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    check(text[:start] + data.draw(st.text(max_size=8)) + text[end:])

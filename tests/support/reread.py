"""Devices of the documents in tests/data as libvirt itself writes them: those that its parser takes.

libvirt's own reading is the second opinion on ours: a number that is read in the wrong base, or an attribute
under the wrong type, comes back as something else.
"""

from collections.abc import Iterator

import libvirt
from lxml import etree

from tests.data import DOMAINS, domain_xml
from virtbridge.model.xml import child, parse_root

DEVICES = ("disk", "interface", "hostdev", "graphics", "filesystem")
_ODD = {"vz"}  # what no libvirt would write
_FRAME = (
    "<domain type='test'><name>{name}</name><memory>1024</memory>"
    "<os><type arch='i686'>hvm</type></os><devices>{device}</devices></domain>"
)


def single_device_domains() -> Iterator[str]:
    """Each device alone in a domain of the test driver, named after its document and place."""
    for name in DOMAINS:
        if name in _ODD:
            continue
        devices = child(parse_root(domain_xml(name), "domain"), "devices")
        for place, device in enumerate(devices if devices is not None else ()):
            if device.tag in DEVICES:
                written = etree.tostring(device, encoding="unicode", with_tail=False)
                yield _FRAME.format(name=f"{name}-{place}", device=written)


def accepted(connection: libvirt.virConnect, xml: str) -> str | None:
    """The domain as libvirt writes it; None for what this libvirt or the test driver refuses."""
    try:
        domain = connection.defineXML(xml)
    except libvirt.libvirtError:
        return None
    try:
        return str(domain.XMLDesc(0))
    finally:
        domain.undefine()

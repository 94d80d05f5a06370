"""Host capabilities: what is read of them. Pure.

Source: libvirt capabilities XML, https://libvirt.org/formatcaps.html
"""

from virtbridge.model.xml import parse_root, text


def parse_emulators(xml: str) -> frozenset[str]:
    """Return the paths of the emulators that libvirt found by itself, from XML of
    virConnectGetCapabilities().

    Raises BadXml.
    """
    found = parse_root(xml, "capabilities").iterfind("guest/arch//emulator")
    return frozenset(path for path in map(text, found) if path)

"""Which emulators host capabilities list."""

import pytest

from virtbridge.model.capabilities import parse_emulators
from virtbridge.model.xml import BadXml

XML = """<capabilities><host><emulator>/not/one</emulator></host>
<guest><os_type>hvm</os_type><arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator>
  <domain type='qemu'/><domain type='kvm'><emulator>/usr/bin/kvm</emulator></domain></arch></guest>
<guest><arch name='odd'><emulator/></arch></guest></capabilities>"""


def test_those_of_guests_and_of_their_domain_types_are_listed() -> None:
    assert parse_emulators(XML) == {"/usr/bin/qemu-system-x86_64", "/usr/bin/kvm"}


@pytest.mark.parametrize("xml", ["", "<domain/>", XML[:-1]])
def test_what_is_no_capabilities_is_refused(xml: str) -> None:
    with pytest.raises(BadXml):
        parse_emulators(xml)

"""libvirt's error codes under the names that clients match."""

import libvirt
import pytest

from virtbridge.errors import ErrorKind
from virtbridge.source.calls.errors import KIND_BY_CODE


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, ErrorKind.NO_SUCH_OBJECT),
        (libvirt.VIR_ERR_NO_SUPPORT, ErrorKind.NOT_SUPPORTED),
        # As QEMU answers virConnectGetSysinfo() where there is no SMBIOS: the caller has given nothing wrong.
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, ErrorKind.NOT_SUPPORTED),
        (libvirt.VIR_ERR_OPERATION_INVALID, ErrorKind.OPERATION_INVALID),
    ],
)
def test_a_code_has_its_name(code: int, kind: ErrorKind) -> None:
    assert KIND_BY_CODE[code] is kind

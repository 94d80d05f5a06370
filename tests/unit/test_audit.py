"""Each operation leaves one line that says who did what, and with what result."""

import logging

import pytest

from virtbridge.bus.audit import audited
from virtbridge.bus.call import Call
from virtbridge.bus.rights import READ, RIGHT_OF
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.operations import OPERATIONS

CALL = Call("/org/virtbridge1/lab/domain/_1", None, ":1.7", 1000)


def test_what_everybody_may_do_leaves_no_line() -> None:
    """Otherwise every local user could fill the journal."""
    for kind, rows in OPERATIONS.items():
        for row in rows.values():
            if row.permissions and {RIGHT_OF.get(each) for each in row.permissions} == {READ}:
                assert row.is_reading, f"{kind}.{row.name}"


def test_a_success_and_a_failure_are_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with audited(CALL, "start"):
        pass
    with pytest.raises(BridgeError), audited(CALL, "set-value"):
        raise BridgeError(ErrorKind.BUSY, "secret words of libvirt")
    began, failed = caplog.messages
    assert began.startswith(
        "operation name=start object=/org/virtbridge1/lab/domain/_1 uid=1000 sender=:1.7 result=success"
    )
    assert "name=set-value" in failed
    assert "result=busy" in failed
    assert "secret words" not in failed

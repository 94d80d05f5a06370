"""Which flags of GetXml need the right to read secrets: everything that is not known to show none.

libvirt's `migratable` writes passwords too (CVE-2014-7823 was about just that), though its name says nothing
of it: seen with a VNC password on QEMU, libvirt 9.0.
"""

import inspect
from typing import Any

import pytest

from virtbridge.bus.handlers.objects import DomainHandlers
from virtbridge.cache.cache import Cache
from virtbridge.errors import BridgeError, ErrorKind


class Reads:
    """In place of Requests."""

    async def read_xml(self, _key: Any, _flags: int) -> str:
        return "<domain/>"


class Stranger:
    """In place of Call: may read, and nothing else."""

    key = None

    async def require(self, right: str) -> None:
        raise BridgeError(ErrorKind.NOT_AUTHORIZED, f"no {right}")


async def get_xml(**options: Any) -> str:
    requests: Any = Reads()
    call: Any = Stranger()
    other: Any = None
    answer = DomainHandlers(Cache(), other, requests, other).get_xml(call, options)
    assert inspect.isawaitable(answer)
    xml: str = await answer
    return xml


@pytest.mark.parametrize(
    "options", [{"secure": True}, {"migratable": True}, {"flags": 1}, {"flags": 8}, {"flags": 1 << 20}]
)
async def test_what_may_show_passwords_needs_the_right(options: dict[str, Any]) -> None:
    with pytest.raises(BridgeError, match="read-secrets") as refused:
        await get_xml(**options)
    assert refused.value.kind is ErrorKind.NOT_AUTHORIZED


@pytest.mark.parametrize("options", [{"inactive": True}, {"flags": 2}, {"flags": 4}])
async def test_what_shows_none_is_open_to_all(options: dict[str, Any]) -> None:
    assert await get_xml(**options) == "<domain/>"

"""The facts about the host in a connection's record, with one call for each. The fetch_ functions call
libvirt.
"""

import logging
from collections.abc import Callable
from typing import Any

import libvirt

from virtbridge.errors import BridgeError
from virtbridge.source.calls.session import Session
from virtbridge.tasks import all_of

log = logging.getLogger(__name__)

# The field of ConnectionRecord, the method that gives it, and the function that reads the answer.
_Fact = tuple[str, str, Callable[[Any], Any]]
_INFO: tuple[_Fact, ...] = (
    ("driver", "getType", str),
    ("daemon_version", "getLibVersion", int),
    ("hostname", "getHostname", str),
    ("encrypted", "isEncrypted", bool),
    ("secure", "isSecure", bool),
)
_VERSION: _Fact = ("hypervisor_version", "getVersion", int)


async def fetch_info(session: Session) -> dict[str, Any]:
    """Return the fields of ConnectionRecord about the host, without those that the host does not give."""
    answers = await all_of(_fetch_fact(session, fact, short=True) for fact in _INFO)
    return {field: value for answer in answers for field, value in answer.items()} | {
        "libvirt_version": libvirt.getVersion()
    }


async def fetch_version(session: Session) -> dict[str, Any]:
    """Return the hypervisor's version. QEMU's driver examines the emulators first, which takes longer than a
    first sync.
    """
    return await _fetch_fact(session, _VERSION, short=False)


async def _fetch_fact(session: Session, fact: _Fact, *, short: bool) -> dict[str, Any]:
    field, method, read = fact
    try:
        return {field: await session.call(method, short=short, then=read)}
    except BridgeError as error:
        if session.lost.done():
            raise
        log.debug("fact not available conn=%s call=%s error=%s", session.name, method, error)
        return {}

"""Sessions whose calls never come back do not add up: the test driver, with listings that hang."""

import threading

import libvirt
import pytest

from tests.support.followed import Followed
from virtbridge.config import ConnectionConfig
from virtbridge.errors import ErrorKind
from virtbridge.source.calls.opening import HUNG_LIMIT
from virtbridge.source.kinds.table import FOLLOWED

URI = "test:///default"


async def test_sessions_that_were_given_up_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    for method in {spec.list_all for spec in FOLLOWED.values()}:
        real = getattr(libvirt.virConnect, method)
        monkeypatch.setattr(
            libvirt.virConnect,
            method,
            lambda *args, real=real: real(*args) if released.wait() else None,
        )
    async with Followed(call_timeout_s=0.1, reconnect_min_s=0.05, reconnect_max_s=0.1) as source:
        try:
            source.connections.open(ConnectionConfig("c", URI))
            await source.until(lambda: "earlier sessions" in source.connection().last_error[1])
            assert source.connection().last_error[0] == ErrorKind.TIMEOUT
            attempts, opened = source.connection().reconnect_attempts, source.calls()["open"]
            assert opened >= HUNG_LIMIT  # on a busy machine a session may end before a call of it could hang
            threads = threading.active_count()
            await source.until(lambda: source.connection().reconnect_attempts > attempts + 5)
            assert source.calls()["open"] == opened
            assert threading.active_count() <= threads
        finally:
            released.set()
        await source.until_state("ready")

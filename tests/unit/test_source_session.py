"""The end of a session, with a libvirt that takes its time: every callback goes, and then the connection."""

import asyncio
import threading

import pytest

from virtbridge.config import ConnectionConfig
from virtbridge.metrics import Metrics
from virtbridge.source.calls import session as module
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.calls.session import Session


class Raw:
    """Stands in for a virConnect of which one deregistration hangs; remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.released = threading.Event()

    def off(self, number: int) -> None:
        if number == 1 and not self.released.is_set():
            self.released.wait(10)
        self.asked.append(number)

    def close(self) -> int:
        self.asked.append("close")
        return 0


async def test_callbacks_that_come_or_hang_while_it_ends_are_deregistered_before_it_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "END_S", 0.1)
    raw = Raw()
    config = ConnectionConfig("lab", "test:///default")
    session = Session(config, raw, Inbox(asyncio.get_running_loop()), Metrics(), 10)
    session._keep_callback("off", 1)
    session._keep_callback("off", 2)
    ending = asyncio.create_task(session.end())
    await asyncio.sleep(0.02)
    session._keep_callback("off", 3)  # as a worker does that has only now registered it
    await ending
    assert session.hangs()
    assert "close" not in raw.asked
    raw.released.set()
    async with asyncio.timeout(10):
        while session.hangs():  # noqa: ASYNC110 (threads end, and tell nobody)
            await asyncio.sleep(0.01)
    assert set(raw.asked) == {1, 2, 3, "close"}
    assert raw.asked[-1] == "close"

"""When the system has no room for another thread: what waits for one goes on, later or without it."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.until import until
from virtbridge.config import Config
from virtbridge.metrics import Metrics
from virtbridge.reloads import Reloads
from virtbridge.source.calls import opening
from virtbridge.source.calls.inbox import Inbox


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Holds how many threads are still refused."""
    left = [1]
    start = threading.Thread.start

    def starting(thread: threading.Thread) -> None:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    return left


async def test_a_connection_is_closed_all_the_same(
    refused: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_RETRY_S", 0.0)
    closed: list[str] = []
    handle = SimpleNamespace(close=lambda: closed.append("once"))
    inbox = Inbox(asyncio.get_running_loop())
    closer = opening.Closer("lab", inbox, Metrics(), handle)
    closer.start()
    async with asyncio.timeout(10):
        await closer.done
    assert closed == ["once"]
    assert refused == [0]


async def test_a_reload_ends_and_says_why(refused: list[int], caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    async def announce_ready() -> None:
        said.append("ready")

    status: Any = SimpleNamespace(reloading=lambda: said.append("reloading"), announce_ready=announce_ready)
    nothing: Any = None
    reloads = Reloads(Config(), nothing, status)
    reloads.start()
    reloads.begin(Config)
    await until(lambda: said == ["reloading", "ready"])
    assert "stays as it was: the system has no room for another thread" in caplog.text
    await reloads.stop()

"""The inbox: in order, one wake per batch, a long batch in slices, nothing lost between threads."""

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

import pytest

from virtbridge.source.calls.inbox import Inbox


async def turned() -> None:
    await asyncio.sleep(0)


def opened_since(before: set[str]) -> set[str]:
    return {
        fd for fd in os.listdir("/proc/self/fd") if fd not in before and os.path.exists(f"/proc/self/fd/{fd}")
    }


async def test_a_batch_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wakes: list[int] = []
    wake = os.eventfd_write
    monkeypatch.setattr(os, "eventfd_write", lambda fd, value: (wakes.append(fd), wake(fd, value)))
    inbox, seen = Inbox(asyncio.get_running_loop()), []
    for number in range(1000):
        inbox.post(seen.append, number)
    assert len(wakes) == 1
    async with asyncio.timeout(5):
        while len(seen) < 1000:
            await turned()
    assert seen == list(range(1000))


async def test_everything_of_every_thread_arrives_in_that_thread_s_order() -> None:
    inbox, seen = Inbox(asyncio.get_running_loop()), []
    per_thread = 2000

    def post(thread: int) -> None:
        for number in range(per_thread):
            inbox.post(seen.append, (thread, number))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    arrived = asyncio.Event()
    inbox.post(arrived.set)  # behind everything that they have posted
    await asyncio.wait_for(arrived.wait(), 20)
    for number in range(4):
        assert [place for thread, place in seen if thread == number] == list(range(per_thread))


async def test_a_long_batch_leaves_the_loop_its_turns() -> None:
    inbox = Inbox(asyncio.get_running_loop(), slice_s=0.005)
    for _ in range(20):
        inbox.post(sleep, 0.002)
    turns = 0
    async with asyncio.timeout(5):
        while len(inbox):
            await turned()
            turns += 1
    assert turns >= 4


async def test_what_is_there_is_delivered_in_one_batch() -> None:
    seen: list[object] = []

    @contextmanager
    def batch() -> Iterator[None]:
        seen.append("begins")
        yield
        seen.append("ends")

    inbox = Inbox(asyncio.get_running_loop(), batch())
    inbox.post(seen.append, 1)
    inbox.post(seen.append, 2)
    async with asyncio.timeout(5):
        while "ends" not in seen:
            await turned()
    assert seen == ["begins", 1, 2, "ends"]


async def test_a_failing_call_does_not_stop_the_next(caplog: pytest.LogCaptureFixture) -> None:
    inbox, seen = Inbox(asyncio.get_running_loop()), []

    def fail() -> None:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        inbox.post(fail)
        inbox.post(seen.append, 1)
        async with asyncio.timeout(5):
            while not seen:
                await turned()
    assert "a call from another thread failed" in caplog.text


def test_posting_after_the_end_is_harmless() -> None:
    loop = asyncio.new_event_loop()
    inbox = Inbox(loop)
    loop.close()
    inbox.post(print)


def test_its_descriptor_stays_open_as_long_as_somebody_may_post() -> None:
    before = set(os.listdir("/proc/self/fd"))
    loop = asyncio.new_event_loop()
    inbox = Inbox(loop)
    post = inbox.post
    loop.close()
    del inbox
    (own,) = opened_since(before)
    post(print)
    assert opened_since(before) == {own}
    del post
    gc.collect()
    assert opened_since(before) == set()

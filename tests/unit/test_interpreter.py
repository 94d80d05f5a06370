"""The garbage collector is kept from what is known of a ready connection, and from nothing else."""

import gc
from collections.abc import Iterator

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.until import until
from virtbridge import interpreter
from virtbridge.cache.cache import Cache
from virtbridge.interpreter import GarbageFreezer
from virtbridge.model.changes import Forget, Put
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, DomainRecord


@pytest.fixture(autouse=True)
def thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(interpreter, "_SETTLE_S", 0.01)
    monkeypatch.setattr(interpreter, "_SETTLE_AFTER_LOSS_S", 0.02)
    yield
    gc.unfreeze()


def is_now(cache: Cache, name: str, state: str) -> None:
    cache.apply([Put(connection_key(name), ConnectionRecord(name, "test:///default", state))])


async def test_frozen_while_ready_and_thawed_when_one_is_lost(clock: FakeClock) -> None:
    cache = Cache()
    GarbageFreezer(cache).attach()
    is_now(cache, "a", "syncing")
    await clock.pass_s(3600)
    assert gc.get_freeze_count() == 0
    is_now(cache, "a", "ready")
    await until(lambda: gc.get_freeze_count() > 0)
    is_now(cache, "b", "connecting")
    assert gc.get_freeze_count() > 0
    is_now(cache, "a", "disconnected")
    assert gc.get_freeze_count() == 0
    await until(lambda: gc.get_freeze_count() > 0)
    is_now(cache, "a", "ready")
    cache.apply([Forget("a")])
    assert gc.get_freeze_count() == 0
    await until(lambda: gc.get_freeze_count() > 0)


def test_what_is_read_is_frozen_as_the_cache_grows() -> None:
    gc.unfreeze()  # another test may have left something frozen
    cache = Cache()
    GarbageFreezer(cache).attach()

    def read(first: int, count: int) -> None:
        keys = [Key("lab", Kind.DOMAIN, str(n)) for n in range(first, first + count)]
        cache.apply([Put(key, DomainRecord(key.id, key.id)) for key in keys])

    read(0, interpreter._FREEZE_AFTER)
    assert gc.get_freeze_count() == 0
    read(interpreter._FREEZE_AFTER, 1)
    assert (first := gc.get_freeze_count()) > interpreter._FREEZE_AFTER
    read(interpreter._FREEZE_AFTER + 1, interpreter._FREEZE_AFTER)
    assert 0 < gc.get_freeze_count() <= first  # what is frozen may still go by its reference count
    read(2 * interpreter._FREEZE_AFTER + 1, 1)
    assert gc.get_freeze_count() > first + interpreter._FREEZE_AFTER

"""Registrations that fail: their data has exactly one owner in the end, however often libvirt released it."""

import ctypes
import sys
import weakref
from typing import Any

import pytest

from virtbridge.source.calls import registering
from virtbridge.source.calls.registering import DELIVERED_S, guarded

release = ctypes.pythonapi["Py_DecRef"]
release.argtypes, release.restype = [ctypes.py_object], None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Libvirt:
    """What the guarded function calls. It keeps no data, as nobody does whose reference is not counted."""

    def __init__(self, answer: int = -1, releases: int = 0) -> None:
        self.answer = answer
        self.releases = releases
        self.given: list[dict[str, Any]] = []
        self.registered: list[dict[str, Any]] = []

    def __call__(self, _conn: object, _object: object, _event: int, data: dict[str, Any]) -> int:
        self.given.append(dict(data))
        for _ in range(self.releases):
            release(data)
        if self.answer >= 0:
            self.registered.append(data)
        return self.answer


class Callback:
    pass


@pytest.fixture
def clock() -> Clock:
    registering._failed.clear()
    return Clock()


def added_references() -> int:
    """How many more the data of the last failure has than its owners know of."""
    like_it: tuple[float, dict[str, Any]] = (0.0, {})
    return sys.getrefcount(registering._failed[-1][1]) - sys.getrefcount(like_it[1])


def end_of_data(clock: Clock) -> bool:
    """Whether the data of the last failure is freed after another failure, later than any delivery takes."""
    mark = Callback()
    registering._failed[-1][1]["mark"] = mark
    is_there = weakref.ref(mark)
    del mark
    clock.now += DELIVERED_S + 1
    guarded(Libvirt(), clock)("conn", None, 0, {})
    registering._failed.clear()
    return is_there() is None


def test_data_that_libvirt_did_not_release_twice_is_freed_in_the_end(clock: Clock) -> None:
    guarded(Libvirt(), clock)("conn", None, 0, {"cb": None})
    assert added_references() == 1
    assert end_of_data(clock)


def test_data_that_libvirt_released_twice_before_it_answered_is_freed_once(clock: Clock) -> None:
    guarded(Libvirt(releases=1), clock)("conn", None, 0, {"cb": None})
    assert added_references() == 0
    assert end_of_data(clock)


def test_data_that_libvirt_released_again_after_its_answer_is_freed_once(clock: Clock) -> None:
    guarded(Libvirt(), clock)("conn", None, 0, {"cb": None})
    release(registering._failed[-1][1])  # the delivery is over
    assert added_references() == 0
    assert end_of_data(clock)


def test_data_is_kept_as_long_as_a_delivery_may_take(clock: Clock) -> None:
    guarded(Libvirt(), clock)("conn", None, 0, {"cb": None})
    clock.now += DELIVERED_S
    guarded(Libvirt(), clock)("conn", None, 0, {})
    assert len(registering._failed) == 2
    registering._failed.clear()


def test_what_failed_keeps_neither_its_callback_nor_its_connection(clock: Clock) -> None:
    callback = Callback()
    gone = weakref.ref(callback)
    guarded(Libvirt(), clock)("conn", None, 0, {"cb": callback})
    del callback
    assert gone() is None


def test_a_registration_that_succeeds_ends_with_libvirts_own_reference(clock: Clock) -> None:
    libvirt = Libvirt(answer=7)
    callback = Callback()
    gone = weakref.ref(callback)
    given = {"cb": callback, "conn": "conn", "opaque": None}
    assert guarded(libvirt, clock)("conn", None, 0, given) == 7
    assert libvirt.registered == [given]
    assert not registering._failed
    given.clear()
    libvirt.given.clear()
    del callback
    assert gone() is not None
    libvirt.registered.clear()  # as deregistering does
    assert gone() is None


def test_an_exception_of_the_call_is_passed_on_and_counts_as_a_failure(clock: Clock) -> None:
    def refuse(*_: object) -> int:
        raise TypeError("argument 3")

    with pytest.raises(TypeError):
        guarded(refuse, clock)("conn", None, 0, {})
    assert len(registering._failed) == 1
    registering._failed.clear()

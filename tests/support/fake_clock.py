"""A clock for tests that no busy machine can disturb: time passes when the test has nothing else to do.

It takes the place of the running loop's clock, and of time.monotonic() wherever a module of virtbridge has
imported it, so that pauses, ages and intervals are exact and cost nothing. What is asked of a thread takes no
time by this clock: a test with threads has it stand still while they work, and moves it by hand.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

_FIRST_S = 1000.0
_REAL_LIMIT_S = 10.0  # for which a test waits when no timer is left


class FakeClock:
    """now_s: the time. stands: it passes by advance() alone, and timers wait for that."""

    def __init__(self) -> None:
        self.now_s = _FIRST_S
        self.stands = False

    def read_s(self) -> float:
        return self.now_s

    def read_ns(self) -> int:
        return round(self.now_s * 1e9)

    def advance(self, seconds: float) -> None:
        """On the loop's thread."""
        self.now_s += seconds

    async def pass_s(self, seconds: float) -> None:
        """Let so much time pass, and everything happen that is due until then."""
        await asyncio.sleep(seconds)


class _Selector:
    """What the loop waits with: where nothing is ready it moves the clock to the next timer."""

    def __init__(self, real: Any, clock: FakeClock) -> None:
        self._real = real
        self._clock = clock

    def select(self, timeout_s: float | None = None) -> list[Any]:
        ready: list[Any] = self._real.select(0)
        if ready or timeout_s == 0:
            return ready
        if timeout_s is not None and not self._clock.stands:
            self._clock.advance(timeout_s)
            return ready
        if not (ready := self._real.select(_REAL_LIMIT_S)):
            raise TimeoutError("the test waits for something that does not come")
        return ready

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def replace_monotonic(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    replaced: dict[str, tuple[object, Callable[[], float]]] = {
        "monotonic": (time.monotonic, clock.read_s),
        "monotonic_ns": (time.monotonic_ns, clock.read_ns),
    }
    for module in [module for name, module in sys.modules.items() if name.startswith("virtbridge.")]:
        for name, (real, fake) in replaced.items():
            if getattr(module, name, None) is real:
                monkeypatch.setattr(module, name, fake)


@pytest_asyncio.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeClock]:
    """The clock of the test's loop, which keeps it to its end: a step that began by one clock and ended by
    another would have taken hours.
    """
    made = FakeClock()
    loop: Any = asyncio.get_running_loop()
    loop.time = made.read_s
    loop._selector = _Selector(loop._selector, made)
    with monkeypatch.context() as patches:
        replace_monotonic(patches, made)
        yield made
    made.stands = True  # else the loop's own deadlines, for threads that end, would be over at once

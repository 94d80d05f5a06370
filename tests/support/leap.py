"""Time that passes at once: an hour by a loop's clock, in which everything that is due begins.

A test that shows that nothing happens leaps instead of sleeping. It takes a few turns of the loop, however
busy the machine is, and covers much more time than a test could sleep. Threads, libvirt and other processes
do not leap, so nothing may be in flight: its deadline would be over.

As a program this is virtbridge with a clock that leaps when it is told so, see Daemon.leap().
"""

import asyncio
import os
import signal
import sys
import time
from types import FrameType

LEAP_S = 50.0  # of a daemon: shorter than the audit's usual interval
TURNS = 20  # of the loop, in which what a timer started makes its first call
LEAPT = "time has leapt\n"


async def leap(seconds: float) -> None:
    """Let so much time pass by the running loop's clock, and all that is due begin. In the debug mode asyncio
    takes this step for a slow one, and logs it.
    """
    loop = asyncio.get_running_loop()
    passed = loop.time
    loop.time = lambda: passed() + seconds  # type: ignore[method-assign]
    for _ in range(TURNS):
        await asyncio.sleep(0)


def main() -> int:
    from virtbridge.__main__ import main as run

    leapt_s = 0.0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal leapt_s
        leapt_s += LEAP_S
        os.write(sys.stdout.fileno(), LEAPT.encode())

    # The loop's own descriptor for signals wakes it, and it finds that its timers are due.
    asyncio.BaseEventLoop.time = lambda _self: time.monotonic() + leapt_s  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, on_signal)
    return run()


if __name__ == "__main__":
    sys.exit(main())

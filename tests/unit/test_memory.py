"""Where there is no memory left the process ends, with one line and status 1. Each case is a process."""

import signal
import subprocess
import sys

import pytest

_START = """
import asyncio, logging, threading
from virtbridge import memory
from virtbridge.logs import set_up_logging
set_up_logging()
memory.end_on_memory_errors()
def fail(*_):
    raise MemoryError
"""
_LOGGED = """
try:
    fail()
except MemoryError:
    logging.getLogger("virtbridge.x").exception("a call failed")
"""
_CAUSE = """
try:
    try:
        fail()
    except MemoryError as error:
        raise ValueError("unreadable") from error
except ValueError as error:
    memory.end_if_exhausted(error)
"""
_THREAD = """
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
# start() waits for a thread that has died before it could say that it runs.
_THREAD_START = """
threading.Thread._bootstrap_inner = fail
threading.Thread(target=print).start()
"""
_CALLBACK = """
async def main():
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.Event().wait()
asyncio.run(main())
"""
_TASK = """
async def main():
    async def failing():
        fail()
    asyncio.create_task(failing())
    await asyncio.Event().wait()
asyncio.run(main())
"""
_FINALIZER = """
class Thing:
    __del__ = fail
Thing()
"""
_NO_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
memory.need_room()
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _START + code + "\nprint('went on')"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "code",
    ["fail()", _LOGGED, _CAUSE, _THREAD, _THREAD_START, _CALLBACK, _TASK, _FINALIZER, _NO_ROOM],
    ids=["uncaught", "logged", "cause", "thread", "thread-start", "callback", "task", "finalizer", "no-room"],
)
def test_a_memory_error_ends_the_process(code: str) -> None:
    ended = run(code)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines() == ["virtbridge: out of memory, ending"]


def test_other_errors_and_enough_room_change_nothing() -> None:
    ended = run("memory.end_if_exhausted(ValueError())\nmemory.need_room()")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on\n", "")


def test_the_end_comes_in_time_without_a_loop() -> None:
    ended = run("memory.end_in_time(1)\nthreading.Lock().acquire(); lock = threading.Lock()\n"
                "lock.acquire(); lock.acquire()")  # fmt: skip
    assert ended.returncode == -signal.SIGALRM

"""The service's side of a program that forks a process for each task (forking.py). It starts the program,
sends it tasks, and ends the tasks for which nobody waits any more. Main thread only.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import BinaryIO

from virtbridge.cache.forking import MESSAGE_BYTES_MAX, TAKEN
from virtbridge.errors import BridgeError, ErrorKind


class ForkServer:
    """module: the program to run. It is started for the first task, and again when it has died."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def run(self, seconds: int, given: BinaryIO, made: BinaryIO) -> bytes:
        """Return the task's last message; it is empty when the task's process died before it sent one. When
        the caller is cancelled, that process is killed.

        seconds: the processor time that the task may use. Raises OSError when the system has no process or
        descriptor left, and OperationFailed when the program does not start.
        """
        link, theirs = socket.socketpair()
        with link:
            with theirs:
                self._send(seconds, [given.fileno(), made.fileno(), theirs.fileno()])
            said = await _end_of(link)
        if not said:
            raise BridgeError(ErrorKind.OPERATION_FAILED, f"{self._module} could not be started")
        word = said.removeprefix(TAKEN)
        if word.isdigit():
            raise OSError(int(word), os.strerror(int(word)))
        return word

    def close(self) -> None:
        """Stop the program. All tasks must have ended before."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _send(self, seconds: int, fds: Sequence[int]) -> None:
        message = [str(seconds).encode()]
        with contextlib.suppress(ConnectionError):  # the program has died
            if self._control is not None:
                socket.send_fds(self._control, message, fds)
                return
        self.close()
        socket.send_fds(self._start(), message, fds)

    def _start(self) -> socket.socket:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    # -P: import no module from the working directory, where others may write.
                    (sys.executable, "-P", "-m", self._module),
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        except BaseException:
            control.close()
            raise
        self._control = control
        return control


async def _end_of(link: socket.socket) -> bytes:
    """Return the bytes that arrive until the other side closes the link."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bytes] = loop.create_future()
    said = bytearray()

    def read() -> None:
        try:
            data = link.recv(MESSAGE_BYTES_MAX)
        except ConnectionError:
            data = b""
        said.extend(data)
        if not data and not ended.done():
            ended.set_result(bytes(said))

    link.setblocking(False)
    loop.add_reader(link, read)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        # The kernel kills the process. Another task may start only when it has ended.
        link.shutdown(socket.SHUT_WR)
        await ended
        raise
    finally:
        loop.remove_reader(link)

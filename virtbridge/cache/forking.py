"""The program that forks a process for each task that the service sends, with all modules imported already.

The service itself must not fork: fork() stops its main thread until the child has had a processor, which took
up to 180 ms on a busy machine. A new interpreter for each task would need 0.1 s of processor time to start.
This is that program's side; fork_server.py is the service's side. It is a program of its own, so nothing here
knows asyncio.
"""

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import BinaryIO

# What the service hears: that its task was taken, then the task's own last word, or the number of the error
# for which there is no process.
TAKEN = b"taken "
DONE, REFUSED = b"done", b"refused"
MESSAGE_BYTES_MAX = 64
_NICENESS = 5  # a third of the service's weight where processors are short; where they are idle, no less
_OOM_SCORE = "1000"  # the kernel kills it first when memory is short

# seconds of processor, input, output -> DONE or REFUSED
Task = Callable[[int, BinaryIO, BinaryIO], bytes]


def serve(control: socket.socket, task: Task) -> None:
    """Fork for each message from the service until it closes the socket."""
    _stand_back()
    gc.freeze()  # what is here already is never collected, so that the children share its pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the children
    while True:
        message, fds, _, _ = socket.recv_fds(control, MESSAGE_BYTES_MAX, 3)
        if not message:
            return
        try:
            if len(fds) == 3:
                fork_for(control, task, int(message), *fds)
        except ConnectionError:  # nobody waits for the task any more
            pass
        finally:
            for fd in fds:
                os.close(fd)


def _stand_back() -> None:
    # A filter of system calls may forbid either; the work can be done without.
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_OOM_SCORE)


def fork_for(
    control: socket.socket, task: Task, seconds: int, source: int, target: int, link_fd: int
) -> None:
    """Fork a process for the task. The link shows the service how the task ended: by its last bytes, and in
    any case by its end.
    """
    link = socket.socket(fileno=os.dup(link_fd))
    with link:
        link.send(TAKEN)
        try:
            child = os.fork()
        except OSError as error:
            link.send(str(error.errno).encode())
            return
        if child:
            return
        status = 1
        try:
            control.close()
            _end_with(link)
            with open(source, "rb", closefd=False) as given, open(target, "r+b", closefd=False) as made:
                link.send(task(seconds, given, made))
            status = 0
        finally:
            os._exit(status)  # whatever it was: the loop above is the parent's


def _end_with(link: socket.socket) -> None:
    """Let the kernel kill this process as soon as the service closes its side or dies: the kernel then sends
    SIGIO, which ends the process even inside C code.
    """
    fcntl.fcntl(link, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(link, fcntl.F_SETFL, fcntl.fcntl(link, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([link], [], [], 0)[0]:  # the service closed its side before this
        os._exit(1)

"""The descriptors of this process, so that a test can show that none is left open."""

import os


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))

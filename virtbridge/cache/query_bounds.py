"""What one query may take, as the kernel sees to it in the process that evaluates it."""

import resource

ANSWER_BYTES_MAX = 16 << 20
MEMORY_BYTES_MAX = 256 << 20  # of addresses, some 40 MiB of which are the interpreter's and its libraries'


def confine(cpu_seconds: int) -> None:
    """The calling process, for good: what it may have holds even when whoever waits for it has died.

    An answer beyond its bound is an OSError there, as Python ignores the signal.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_BYTES_MAX, ANSWER_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))

"""The resource limits of one query. The kernel enforces them in the process that evaluates it."""

import resource

ANSWER_BYTES_MAX = 16 << 20
MEMORY_BYTES_MAX = 256 << 20  # of addresses, some 40 MiB of which are the interpreter's and its libraries'


def confine(cpu_seconds: int) -> None:
    """Limit the calling process for good. The limits hold even when the waiting service has died.

    An answer that exceeds its limit raises OSError in that process, since Python ignores the signal.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_BYTES_MAX, ANSWER_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))

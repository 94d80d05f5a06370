"""Counters of everything that costs something; they prove the RPC budget.

Names are dotted: `libvirt.<call>`, `event.<name>`, `bus.<what>`, `cache.<what>`, `queue.<which>`.
Source: each owner counts its own. Threads: `add` may be called from any thread.
"""

from collections import Counter
from collections.abc import Callable
from threading import Lock


class Metrics:
    """Monotonic counters, and gauges that are read when someone asks."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._gauges: dict[str, list[Callable[[], int]]] = {}
        self._lock = Lock()  # Counter's += is a read and a write; workers count concurrently

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] += amount

    def gauge(self, name: str, read: Callable[[], int]) -> None:
        """read: called on the main thread when a snapshot is asked for. Gauges of one name are added up."""
        self._gauges.setdefault(name, []).append(read)

    def drop_gauge(self, name: str) -> None:
        del self._gauges[name]

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            counts = dict(self._counts)
        return counts | {name: sum(read() for read in reads) for name, reads in self._gauges.items()}

"""The window: how many short reads a connection keeps in flight. A long link needs many, and a host that is
slow to answer gets fewer.

The idea is that of TCP: start with a number for a local socket, double it in each round trip while a call
takes about as long as the fastest one did, and reduce it when calls begin to queue at the other end. Over a
100 ms link the window grows to 128, over a local socket it stays at 16. Pure: times are arguments. Not
thread-safe: the lock of the owner protects it.
"""

SMALLEST, START, WIDE, LARGEST = 2, 16, 64, 128

# Where the fastest call takes less than this, START calls in flight are 8,000 in a second. That is more than
# this process can parse, and more threads only compete for the processor and the interpreter's lock: a start
# with 1000 domains on a local socket took 0.55 s where the window grew (70 threads), and 0.51 s where it
# stayed at 16 (20 to 40 threads, as other calls have theirs).
QUICK_S = 0.002
# A call that takes longer than the fastest one by more than this has waited in a queue. The constant matters
# where the round trip takes almost no time: with 5 ms of queue a local libvirtd stays busy and still answers
# quickly.
SLACK_FACTOR, SLACK_S = 1.5, 0.005
# Above WIDE the limit is closer. A first sync of 1000 domains over 100 ms takes 14 round trips with 128 in
# flight and 22 with 64. But on half a processor, over 20 ms, it takes 50 instead of 40, since so many threads
# compete for the processor; their calls then take a little longer.
WIDE_FACTOR = 1.1
CONGESTED_FACTOR = 3.0


class Window:
    """size: the number of short reads that may be in flight."""

    def __init__(self) -> None:
        self.size = START
        # By name of the call: libvirt answers some calls without asking the host.
        self._fastest_s: dict[str, float] = {}
        self._since_cut = 0

    def finished(self, name: str, elapsed_s: float, in_flight: int) -> None:
        """Note that a call took elapsed_s. in_flight: the calls in flight when it ended, including itself."""
        fastest_s = self._fastest_s[name] = min(elapsed_s, self._fastest_s.get(name, elapsed_s))
        self._since_cut += 1
        if elapsed_s <= fastest_s * SLACK_FACTOR + SLACK_S:
            # A window that is not full does not show whether a larger one would do. Half full is enough:
            # towards the end of a batch fewer calls are in flight.
            if in_flight * 2 >= self.size and self._may_grow(elapsed_s, fastest_s):
                self.size += 1
        elif elapsed_s > fastest_s * CONGESTED_FACTOR + SLACK_S and self._since_cut >= self.size:
            # At most once per window: all calls of one window have waited in the same queue.
            self.size = max(SMALLEST, self.size * 3 // 4)
            self._since_cut = 0
            # The fastest time grows slowly: a link that became slower must not count as congested for ever.
            self._fastest_s[name] = fastest_s * 1.1 + 0.0001

    def _may_grow(self, elapsed_s: float, fastest_s: float) -> bool:
        if self.size < START:
            return True
        if fastest_s < QUICK_S:
            return False
        return self.size < WIDE or (self.size < LARGEST and elapsed_s <= fastest_s * WIDE_FACTOR)

"""How many short reads a connection keeps in flight: as many as its link is long, not more than its host
likes.

Pure: times come in as arguments. The idea is TCP's: start with what suits a local socket, double per round
trip while a call takes about as long as the fastest one did, back off when calls start to queue at the other
end. Over a 100 ms link that ends at 128, over a local socket at about 16. Not thread-safe: the owner's lock
covers it.
"""

SMALLEST, START, WIDE, LARGEST = 2, 16, 64, 128

# A call may take this much longer than the fastest before it counts as queueing. The constant matters where
# the round trip itself is next to nothing: 5 ms of queue keep a local libvirtd busy and still answer quickly.
SLACK_FACTOR, SLACK_S = 1.5, 0.005
# Beyond WIDE hardly any longer. A first sync of 1000 domains over 100 ms takes 14 round trips with 128 in
# flight and 22 with 64; but on half a processor, over 20 ms, it takes 50 instead of 40, as so many threads
# fight each other for it, and this is how that shows.
WIDE_FACTOR = 1.1
CONGESTED_FACTOR = 3.0


class Window:
    def __init__(self) -> None:
        self.size = START
        # By name: some calls are answered by the library here, and say nothing of the link.
        self._fastest_s: dict[str, float] = {}
        self._since_cut = 0

    def finished(self, name: str, elapsed_s: float, in_flight: int) -> None:
        """One call took elapsed_s; in_flight, itself included, were under way when it ended."""
        fastest_s = self._fastest_s[name] = min(elapsed_s, self._fastest_s.get(name, elapsed_s))
        self._since_cut += 1
        if elapsed_s <= fastest_s * SLACK_FACTOR + SLACK_S:
            # Room that is not used says nothing about how much there is. Half of it is used enough: towards
            # the end of a batch the calls in flight dwindle.
            if in_flight * 2 >= self.size and (self.size < WIDE or elapsed_s <= fastest_s * WIDE_FACTOR):
                self.size = min(LARGEST, self.size + 1)
        elif elapsed_s > fastest_s * CONGESTED_FACTOR + SLACK_S and self._since_cut >= self.size:
            # Once per window: all calls of one window tell of the same queue.
            self.size = max(SMALLEST, self.size * 3 // 4)
            self._since_cut = 0
            # Forgotten slowly, lest a link that has changed look slow for ever.
            self._fastest_s[name] = fastest_s * 1.1 + 0.0001

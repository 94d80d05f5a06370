"""What the interpreter does by itself, where it delays the main loop. Main thread only.

A worker that computes keeps the interpreter's lock for 5 ms at a time, and the main thread releases it at
every system call: a dozen bus messages would wait a dozen times. And the garbage collector goes through
everything that has lived for a while, again and again: with the statistics of a thousand domains it took
60 ms every few seconds. What the cache holds is no garbage, and frozen objects are not examined.
"""

import asyncio
import gc
import sys

from virtbridge.cache.cache import Cache
from virtbridge.model.keys import OBJECT_KINDS, Key, Kind
from virtbridge.model.records import ConnectionRecord

_SWITCH_S = 0.0005
_SETTLE_S = 2.0  # from ready to when the bus has made its own of all objects
_SETTLE_AFTER_LOSS_S = 60.0
# Records by which the cache may grow before what is there is frozen again: while 10,000 are read, a full
# collection takes up to 80 ms, and of so many 4.
_FREEZE_AFTER = 500


def shorten_switch_interval() -> None:
    """Let a waiting thread have the interpreter's lock sooner. This is set once, for the process."""
    sys.setswitchinterval(_SWITCH_S)


class GarbageFreezer:
    """Freezes all objects when a connection is ready, and while much is read. It unfreezes them when a
    connection is no longer ready, since only then many of them are removed.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._frozen_records = 0
        self._ready: set[str] = set()
        self._freezing: asyncio.TimerHandle | None = None

    def attach(self) -> None:
        """Begin to follow the cache."""
        self._cache.listen([Kind.CONNECTION], changed=self._connection_changed)
        self._cache.listen(OBJECT_KINDS, changed=self._object_changed)

    def _object_changed(self, _key: Key) -> None:
        """Freeze without a collection: reference counts alone free everything but circles."""
        records = len(self._cache)
        if records > self._frozen_records + _FREEZE_AFTER:
            self._frozen_records = records
            gc.freeze()
        elif records < self._frozen_records:
            self._frozen_records = records

    def _connection_changed(self, key: Key) -> None:
        record = self._cache.get(key)
        ready = isinstance(record, ConnectionRecord) and record.state == "ready"
        if ready == (key.connection in self._ready):
            return
        self._ready ^= {key.connection}
        if not ready:
            gc.unfreeze()  # and the next collections take what was left behind
        if self._freezing is not None:
            self._freezing.cancel()
        self._freezing = asyncio.get_running_loop().call_later(
            _SETTLE_S if ready else _SETTLE_AFTER_LOSS_S, self._freeze
        )

    def _freeze(self) -> None:
        self._freezing = None
        gc.collect(1)  # not all: that takes as long as what is avoided here
        gc.freeze()

"""What the source is handed where the daemon is wired together: its ways to the cache. Called on the main
thread.
"""

from collections.abc import Callable

from virtbridge.model.changes import Change
from virtbridge.model.keys import Key
from virtbridge.model.records import Record

Publish = Callable[[list[Change]], None]
# Why objects cannot be read; a key without an id stands for those whose id cannot.
Problems = dict[Key, str]
Lookup = Callable[[Key], Record | None]

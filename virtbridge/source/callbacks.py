"""The functions through which the source reaches the cache. The daemon passes them in; they are called on the
main thread.
"""

from collections.abc import Callable

from virtbridge.model.changes import Change
from virtbridge.model.keys import Key
from virtbridge.model.records import Record

Publish = Callable[[list[Change]], None]
# Why objects cannot be read. A key without an id stands for objects whose id cannot be read.
Problems = dict[Key, str]
Lookup = Callable[[Key], Record | None]

"""The audit: one line of the journal for each operation that may change something, whatever comes of it.

It says who, what, on which object, with what result and after how long; never the arguments, which may hold
secrets. Main thread.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from virtbridge.bus.call import Call
from virtbridge.errors import BridgeError, ErrorKind

log = logging.getLogger(__name__)


@contextmanager
def audited(call: Call, operation: str) -> Iterator[None]:
    began_s = monotonic()
    result = str(ErrorKind.CANCELLED)  # what neither succeeds nor fails
    try:
        yield
        result = "success"
    except BridgeError as error:
        result = str(error.kind)
        raise
    finally:
        log.info(
            "operation name=%s object=%s uid=%d sender=%s result=%s elapsed_ms=%.1f",
            operation, call.path, call.user, call.sender, result, (monotonic() - began_s) * 1000,
        )  # fmt: skip

"""What an operation has changed, made known before its reply: by the event that libvirt sends, or by reading.

Where libvirt sends an event, that is waited for, as it costs no call: it comes with the answer or right
after it. Where none comes in time (the domain was paused already), or the driver sends none, the row's
questions are asked, or the kind is listed again. Where libvirt never sends one, what the row names is read
again. A reading that fails does not undo the operation: its failure is logged, and what it would have shown
is found by the next audit or request. Main thread; no libvirt here.
"""

import logging
from collections.abc import Coroutine
from typing import Any

from virtbridge.errors import BridgeError
from virtbridge.model.keys import ON_DEMAND, PARENT_KIND, Key, Kind, connection_key, parent_key
from virtbridge.model.operations import Operation
from virtbridge.source.event_waits import EventWait
from virtbridge.source.session_work import SessionWork

log = logging.getLogger(__name__)

EVENT_S = 0.1  # for an event after its answer


async def settle(work: SessionWork, row: Operation, key: Key, made: Key | None, events: EventWait) -> None:
    """Make known what a successful operation has changed.

    key: the object that was called. made: the object that was made, if any. events: what was begun before the
    call.
    """
    subject = made or key
    if row.events:
        await _after_events(work, row, subject, events)
    else:
        for method in row.asks:
            await _tried(subject, work.follower.get(subject, method))
    for kind in row.lists:
        await _tried(subject, work.list_for(kind, [parent_key(key) or key]))
    for kind in row.rereads:
        await _tried(subject, _reread(work, key, kind))
    if made is not None and made.kind in ON_DEMAND:
        await _tried(made, work.refresher.reread(made))
    elif made is not None and row.events:
        await work.until_read(made)


async def _after_events(work: SessionWork, row: Operation, subject: Key, events: EventWait) -> None:
    announced = subject.kind in work.kinds.event_kinds
    if announced and await events.wait(subject, EVENT_S):
        await work.until_read(subject)
        await work.follower.until_got(subject)
    elif announced and row.asks:
        for method in row.asks:
            await _tried(subject, work.follower.get(subject, method))
    else:
        await _tried(subject, work.list_for(subject.kind, [subject]))


async def _reread(work: SessionWork, key: Key, kind: Kind) -> None:
    """Read the object itself, its parent, or its children again, whichever is of this kind."""
    outer = parent_key(key)
    if kind is key.kind or (outer is not None and kind is outer.kind):
        target = key if kind is key.kind else outer
        assert target is not None
        if kind in ON_DEMAND:
            await work.refresher.reread(target)
        else:
            await work.read_again(target)
    elif PARENT_KIND.get(kind) is key.kind or key == connection_key(key.connection):
        await work.refresher.load_again(key, kind)


async def _tried(key: Key, work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except BridgeError as error:
        log.debug("not read after an operation conn=%s kind=%s id=%s error=%s", *key[:3], error.message)

"""A session's listings are published in steps that hold up nothing else, and never over what is newer."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from virtbridge.cache.cache import Cache
from virtbridge.model.changes import Change, Drop, Patch, Put
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import DomainRecord
from virtbridge.source import differences
from virtbridge.source.differences import SLICE, Differences
from virtbridge.source.kind_states import KindStates
from virtbridge.source.kinds.row import Handle
from virtbridge.source.kinds.table import KINDS
from virtbridge.source.listing import Listed
from virtbridge.source.newer_keys import NewerKeys

ROW = KINDS[Kind.DOMAIN]


def key(number: int) -> Key:
    return Key("lab", Kind.DOMAIN, f"00000000-0000-0000-0000-{number:012}")


def listed(count: int, name: str = "d") -> Listed:
    handles = {key(each).id: Handle(key(each).id, f"{name}{each}", -1, None) for each in range(count)}
    return Listed(ROW, handles)


class Bench:
    """With a session that holds handles and nothing else: no call is made here."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.session: Any = SimpleNamespace(name="lab", handles={})
        self.steps: list[int] = []
        states = KindStates("lab", lambda _fields: None)
        self.differences = Differences(self.session, self.publish, self.cache.get, states, NewerKeys())

    async def publish_listing(self, found: Listed, newer: set[Key]) -> list[Key]:
        return await self.differences.publish_listing(found, newer, {})

    def publish(self, changes: list[Change]) -> None:
        self.steps.append(len(changes))
        self.cache.apply(changes)


async def test_a_large_listing_is_published_in_steps_with_turns_between() -> None:
    bench, known = Bench(), []
    task = asyncio.create_task(bench.publish_listing(listed(1000), set()))
    while not task.done():
        known.append(len(bench.cache))
        await asyncio.sleep(0)
    assert await task == [key(each) for each in range(1000)]
    assert max(bench.steps) <= SLICE
    assert max(after - before for before, after in pairwise(known)) <= SLICE
    assert len(bench.cache) == len(bench.session.handles) == 1000
    # What is known already is patched: the definition stays, and what is gone goes.
    bench.cache.apply([Patch(key(1), {"xml": "<domain/>"})])
    assert await bench.publish_listing(listed(2, "new"), set()) == []
    assert bench.cache.get(key(1)) == DomainRecord(key(1).id, "new1", xml="<domain/>")
    assert len(bench.cache) == len(bench.session.handles) == 2


async def test_what_an_event_tells_between_two_steps_stays(monkeypatch: Any) -> None:
    monkeypatch.setattr(differences, "SLICE", 1)
    bench = Bench()
    bench.cache.apply([Put(key(each), DomainRecord(key(each).id, "old")) for each in range(4)])
    newer: set[Key] = set()
    task = asyncio.create_task(bench.publish_listing(listed(3), newer))
    await asyncio.sleep(0)
    newer |= {key(1), key(2)}
    bench.cache.apply([Drop(key(1)), Patch(key(2), {"name": "renamed"})])
    await task
    assert {each.id: record.name for each, record in bench.cache.records(Kind.DOMAIN)} == {
        key(0).id: "d0",
        key(2).id: "renamed",
    }
    assert bench.differences.skipped == {Kind.DOMAIN}


def test_a_start_that_is_seen_before_the_saved_image_is_gone() -> None:
    known = DomainRecord(key(0).id, "d", persistent=True, has_managed_save=True)
    handles = {key(0).id: Handle(key(0).id, "d", 7, None)}
    seen = Listed(ROW, handles, {"has_managed_save": frozenset(handles)})
    assert seen.change(key(0), known) == Patch(key(0), {"name": "d", "id": 7, "has_managed_save": False})
    runs = replace(known, id=7, has_managed_save=False)
    assert seen.change(key(0), runs) == Patch(key(0), {"name": "d", "id": 7, "has_managed_save": True})

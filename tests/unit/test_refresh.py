"""Refresh answers when clients know of what was read, not when it has been read."""

from types import SimpleNamespace
from typing import Any

from virtbridge.bus.handlers.objects import ConnectionHandlers
from virtbridge.cache.cache import Cache
from virtbridge.model.changes import Put
from virtbridge.model.keys import Kind, connection_key
from virtbridge.model.records import ConnectionRecord


async def test_refresh_waits_for_the_signals() -> None:
    told: list[str] = []

    async def refresh(connection: str, kinds: frozenset[Kind]) -> None:
        told.append(f"read {sorted(kinds)[0]} of {connection}")

    async def until_announced() -> None:
        told.append("told")

    cache = Cache()
    cache.apply(
        [Put(connection_key("c"), ConnectionRecord("c", "u", event_kinds=("domain",), last_sync_us=1))]
    )
    requests: Any = SimpleNamespace(refresh=refresh, loaded=lambda _: frozenset())
    publisher: Any = SimpleNamespace(until_announced=until_announced)
    unused: Any = None
    handlers = ConnectionHandlers(cache, publisher, requests, unused, unused, unused)
    call: Any = SimpleNamespace(key=connection_key("c"))
    await handlers.refresh(call, ["domain"], {})
    assert told == ["read domain of c", "told"]

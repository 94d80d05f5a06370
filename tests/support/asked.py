"""A Followed with the requests that clients make of it, and what they cost."""

from typing import Any

from tests.support.costs import spent
from tests.support.followed import Followed
from virtbridge.cache.chains import Chains
from virtbridge.model.keys import Key, Kind, connection_key

CONNECTION = connection_key("c")


class Asked(Followed):
    """async with Asked() as source: …"""

    async def __aenter__(self) -> "Asked":
        await super().__aenter__()
        Chains(self.cache).attach()
        return self

    async def cost(self, kind: Kind, about: Key = CONNECTION, max_age_s: float = 0) -> dict[str, int]:
        """The libvirt calls that loading a kind took."""
        before = self.calls()
        await self.requests.load(about, kind, max_age_s)
        return spent(before, self.calls())

    def found(self, kind: Kind) -> dict[str, Any]:
        return {key.id: record for key, record in self.cache.records(kind)}

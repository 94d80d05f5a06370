"""What something has cost: libvirt's calls by name, and the difference between two counts."""

from collections.abc import Mapping

from tests.support.client import Client


async def calls(client: Client) -> dict[str, int]:
    """The daemon's libvirt calls so far, without the prefix."""
    counters = await client.counters()
    return {name[8:]: count for name, count in counters.items() if name.startswith("libvirt.")}


def spent(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What differs."""
    return {
        name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)
    }

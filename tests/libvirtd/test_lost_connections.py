"""A short run of what `make soak` does for long; the host lives even shorter, so that more is lost."""

import pytest

from tests.soak.lost_connections import run
from tests.support.libvirtd import is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")


async def test_losing_the_host_while_domains_change_and_statistics_are_watched_breaks_nothing() -> None:
    outcome = await run(25, (0.6, 1.2), seed=1)
    assert not outcome.fault, outcome.fault
    assert outcome.kills

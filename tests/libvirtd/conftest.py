"""A libvirtd of each test's own, and another client of it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import libvirt
import pytest
import pytest_asyncio

from tests.support.asked import Asked
from tests.support.libvirtd import Libvirtd


@pytest.fixture
def host() -> Iterator[Libvirtd]:
    with Libvirtd() as running:
        yield running


@pytest.fixture
def other(host: Libvirtd) -> Iterator[Any]:
    """Another client of the same host."""
    conn = libvirt.open(host.qemu_uri)
    yield conn
    conn.close()


@pytest_asyncio.fixture
async def source() -> AsyncIterator[Asked]:
    """A source that connects to what the test says."""
    async with Asked() as asked:
        yield asked

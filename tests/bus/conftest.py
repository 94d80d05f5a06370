"""A daemon on a private bus, with libvirt's test driver behind it: once per module and D-Bus library."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon, dbus_daemon

NODE = Path(__file__).parents[1] / "data" / "node.xml"


@pytest.fixture(scope="module")
def module_bus() -> Iterator[BusDaemon]:
    with dbus_daemon() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(module_bus: BusDaemon) -> AsyncIterator[Daemon]:
    """Connection `lab` has what node.xml says. The library is the environment's choice."""
    library = os.environ.get("VIRTBRIDGE_DBUS_LIBRARY")
    running = await Daemon.start(module_bus.address, {"lab": f"test://{NODE}"}, library=library)
    yield running
    await running.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    connected = await Client.connect(daemon.address)
    yield connected
    await connected.close()

"""A daemon on a private bus, with libvirt's test driver behind it, here or in a libvirtd: once per module."""

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon, dbus_daemon
from tests.support.libvirtd import Libvirtd, own_domain
from virtbridge.source.calls.eventloop import install
from virtbridge.wire.link import Link, LinkLimits

Connect = Callable[..., Awaitable[Link]]

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


@pytest.fixture
def other() -> Iterator[Any]:
    """Another client of the test driver in this process."""
    install()
    conn = libvirt.open("test:///default")
    yield conn
    gc.collect()
    conn.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Libvirtd]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    with Libvirtd() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def remote(host: Libvirtd, module_bus: BusDaemon) -> AsyncIterator[Daemon]:
    """Connection `host` is the test driver in a libvirtd."""
    running = await Daemon.start(module_bus.address, {"host": host.uri()})
    yield running
    await running.stop()


@pytest.fixture
def domain(host: Libvirtd) -> Iterator[Any]:
    """The test driver's own, of another client, without snapshots before and after."""
    with own_domain(host) as found:
        yield found


@pytest.fixture
async def links(bus: BusDaemon) -> AsyncIterator[Connect]:
    """Make links to the test's bus, which end with the test."""
    opened: list[Link] = []

    async def connect(limits: LinkLimits | None = None) -> Link:
        link = await Link.connect(bus.address, limits or LinkLimits())
        opened.append(link)
        return link

    yield connect
    for link in opened:
        link.close()

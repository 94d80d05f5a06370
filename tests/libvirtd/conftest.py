"""A libvirtd of each test's own, and another client of it."""

from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

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

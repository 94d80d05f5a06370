"""The service from this source tree, run by Debian's own Python with Debian's own packages."""

import subprocess
from pathlib import Path

import pytest

from tests.support.client import ROOT, SERVICE, Client
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon

PYTHON = Path("/usr/bin/python3")
TEST_DOMAIN = f"{ROOT}/test/domain/_6695eb01_f6a4_8304_79aa_97f2502e193f"


def _has_packages() -> bool:
    imports = [PYTHON, "-I", "-c", "import libvirt, dbus_next, lxml.etree"]
    return PYTHON.exists() and subprocess.run(imports, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(
    not _has_packages(), reason=f"{PYTHON} lacks python3-libvirt, python3-dbus-next or python3-lxml"
)
async def test_debians_python_and_packages_serve() -> None:
    with dbus_daemon() as bus:
        daemon = await Daemon.start(
            bus.address, {"test": "test:///default"}, python=str(PYTHON), library="dbus-next"
        )
        client = await Client.connect(bus.address)
        try:
            assert await client.get(TEST_DOMAIN, f"{SERVICE}.Domain", "State") == "running"
            objects = await client.managed_objects()
            assert objects[TEST_DOMAIN][f"{SERVICE}.Domain"]["Name"] == "test"
        finally:
            await client.close()
            await daemon.stop()

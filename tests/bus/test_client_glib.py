"""A desktop program's client, GLib's DBusObjectManagerClient, sees objects come, change and go."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.support.client import ROOT
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon
from tests.support.libvirtd import Libvirtd, is_available

PYTHON = Path("/usr/bin/python3")
PROGRAM = Path(__file__).with_name("glib_client.py")


def _has_glib() -> bool:
    words = [str(PYTHON), "-c", "from gi.repository import Gio"]
    return PYTHON.exists() and subprocess.run(words, capture_output=True, check=False).returncode == 0


class GlibClient:
    """The program and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, address: str) -> "GlibClient":
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(str(PYTHON), str(PROGRAM), address, stdin=pipe, stdout=pipe)
        )

    async def until(self, wanted: Callable[[dict[str, Any]], Any], timeout_s: float = 10) -> dict[str, Any]:
        """The first line that fits."""
        assert self._process.stdout
        async with asyncio.timeout(timeout_s):
            while line := await self._process.stdout.readline():
                said: dict[str, Any] = json.loads(line)
                if wanted(said):
                    return said
        raise AssertionError("the GLib program ended")

    async def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 10)


@pytest.mark.skipif(not _has_glib(), reason="no PyGObject for the system's Python")
@pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")
async def test_objects_come_change_and_go(bus: BusDaemon) -> None:
    xml = "<domain type='test'><name>new</name><memory>32768</memory><os><type>hvm</type></os></domain>"
    with Libvirtd() as host:
        other = await asyncio.to_thread(libvirt.open, host.uri())
        daemon = await Daemon.start(bus.address, {"host": host.uri()})
        client = await GlibClient.start(bus.address)
        try:
            began = await client.until(lambda said: said["what"] == "start")
            assert began["owner"]
            assert f"{ROOT}/host" in began["paths"]
            assert len([path for path in began["paths"] if "/domain/" in path]) == 1

            domain = await asyncio.to_thread(other.defineXML, xml)
            path = f"{ROOT}/host/domain/_{domain.UUIDString().replace('-', '_')}"
            await client.until(lambda said: said["what"] == "added" and said["path"] == path)
            await asyncio.to_thread(domain.create)
            changed = await client.until(
                lambda said: said["what"] == "changed" and said["path"] == path and "State" in said["values"]
            )
            assert changed["values"]["State"] == changed["cached"] == "running"
            assert changed["values"]["Active"] is True
            await asyncio.to_thread(domain.destroy)
            await asyncio.to_thread(domain.undefine)
            await client.until(lambda said: said["what"] == "removed" and said["path"] == path)
        finally:
            await client.close()
            await daemon.stop()
            await asyncio.to_thread(other.close)

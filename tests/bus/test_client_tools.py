"""What people type: busctl and gdbus against the running service. They must see and understand everything."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.client import ROOT, SERVICE
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon

DOMAIN = f"{ROOT}/test/domain/_6695eb01_f6a4_8304_79aa_97f2502e193f"  # the test driver's own
NO_OPTIONS = ("a{sv}", "0")


@pytest_asyncio.fixture
async def service(bus: BusDaemon) -> AsyncIterator[Daemon]:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    yield daemon
    await daemon.stop()


def run(*words: str) -> str:
    """A tool's standard output; fails with its complaint."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}{done.stdout}"
    return done.stdout


def complaint(*words: str) -> str:
    """A tool's standard error, when it must fail."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.skipif(not shutil.which("busctl"), reason="no busctl")
class TestBusctl:
    def busctl(self, daemon: Daemon, *words: str) -> str:
        return run("busctl", f"--address={daemon.address}", "--no-pager", *words)

    def read(self, daemon: Daemon, *words: str) -> Any:
        return json.loads(self.busctl(daemon, "--json=short", *words))["data"]

    async def test_tree_shows_every_object(self, service: Daemon) -> None:
        tree = self.busctl(service, "tree", "--list", SERVICE).split()
        assert {ROOT, f"{ROOT}/test", f"{ROOT}/test/domain", DOMAIN} <= set(tree)
        assert any(path.startswith(f"{ROOT}/test/network/_") for path in tree)

    async def test_introspect_shows_members_and_values(self, service: Daemon) -> None:
        text = self.busctl(service, "introspect", SERVICE, DOMAIN)
        for word in (".GetXml", ".State", '"running"', ".Lifecycle", ".Disks", "emits-change", "writable"):
            assert word in text, text
        for path in (ROOT, f"{ROOT}/test", f"{ROOT}/test/domain"):
            assert "org.freedesktop.DBus.Introspectable" in self.busctl(service, "introspect", SERVICE, path)

    async def test_properties_and_calls(self, service: Daemon) -> None:
        assert self.read(service, "get-property", SERVICE, DOMAIN, f"{SERVICE}.Domain", "Name") == "test"
        find = ("call", SERVICE, ROOT, f"{SERVICE}.Manager", "FindDomains", "sa{sv}", "test", "0")
        assert self.read(service, *find) == [[DOMAIN]]
        (xml,) = self.read(service, "call", SERVICE, DOMAIN, f"{SERVICE}.Domain", "GetXml", *NO_OPTIONS)
        assert xml.startswith("<domain type='test'")

    async def test_a_mistake_is_named(self, service: Daemon) -> None:
        words = ("call", SERVICE, DOMAIN, f"{SERVICE}.Domain", "NoSuchThing")
        assert "NoSuchThing" in complaint("busctl", f"--address={service.address}", *words)


@pytest.mark.skipif(not shutil.which("gdbus"), reason="no gdbus")
class TestGdbus:
    async def test_introspect_recurses_over_everything(self, service: Daemon) -> None:
        words = ("introspect", "--address", service.address, "--dest", SERVICE, "--object-path", ROOT)
        text = run("gdbus", *words, "--recurse")
        assert DOMAIN in text
        assert "readwrite b Autostart" in text

    async def test_a_call_and_an_error_name(self, service: Daemon) -> None:
        where = ("call", "--address", service.address, "--dest", SERVICE, "--object-path", ROOT)
        found = run("gdbus", *where, "--method", f"{SERVICE}.Manager.FindDomains", "test", "{}")
        assert DOMAIN in found
        option = "{'no-such-option': <true>}"
        failed = complaint("gdbus", *where, "--method", f"{SERVICE}.Manager.FindDomains", "test", option)
        assert f"{SERVICE}.Error.InvalidArgument" in failed
        assert "no-such-option" in failed

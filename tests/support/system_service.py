"""The daemon on a system bus with the policy that we install, and a caller who is not root."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.client import SERVICE, Client
from tests.support.daemon import REPOSITORY, Daemon
from tests.support.dbus_daemon import dbus_daemon

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SystemService:
    """root: a client who may do everything."""

    address: str
    root: Client

    async def as_nobody(self, path: str, interface: str, member: str, *args: str) -> str:
        """The error's text, or an empty string. args: as busctl wants them, the signature first."""
        words = ["busctl", f"--address={self.address}", "call", SERVICE, path, interface, member, *args]
        answer = await asyncio.to_thread(
            subprocess.run,
            words, user="nobody", capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        assert bool(answer.stderr) is bool(answer.returncode), answer
        return str(answer.stderr)


@asynccontextmanager
async def system_service(connections: Mapping[str, str]) -> AsyncIterator[SystemService]:
    with dbus_daemon(system=True, policies=[REPOSITORY / "dbus" / "org.virtbridge1.conf"]) as bus:
        daemon = await Daemon.start(bus.address, connections, session=False)
        root = await Client.connect(bus.address)
        yield SystemService(bus.address, root)
        await root.close()
        await daemon.stop()

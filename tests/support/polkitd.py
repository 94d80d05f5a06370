"""The real polkitd on a bus of the test's own, with the actions that we install and the test's own rules.

It reads fixed directories, so it gets a mount namespace in which these are the test's; the machine's own are
never changed. Ended by pid. An agent stands in for the dialog on somebody's screen.
"""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.client import Client, wait_until
from tests.support.daemon import REPOSITORY
from tests.support.dbus_daemon import BusDaemon

POLKIT = "org.freedesktop.PolicyKit1"
POLICY = Path("/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf")
ACTIONS = REPOSITORY / "dbus" / "org.virtbridge1.policy"
OWNER = "unix-user:virtbridge"
_PROGRAM = Path("/usr/lib/polkit-1/polkitd")
_AUTHORITY = "/org/freedesktop/PolicyKit1/Authority"
_AGENT = "/org/virtbridge1/test/Agent"
_AGENT_INTERFACE = f"{POLKIT}.AuthenticationAgent"
_SCRIPT = """set -e
mount --bind "$1/actions" /usr/share/polkit-1/actions
mount --bind "$1/rules" /usr/share/polkit-1/rules.d
mount --bind "$1/none" /etc/polkit-1/rules.d
exec "$2" --no-debug"""
_TIMEOUT_S = 10.0


def is_available() -> bool:
    return _PROGRAM.exists() and POLICY.exists() and shutil.which("unshare") is not None


class Polkitd:
    """rules: JavaScript. owner: the identity that stands for the service's user in the actions."""

    def __init__(self, bus: BusDaemon, rules: str, owner: str = OWNER) -> None:
        self._bus = bus
        self._folder = bus.directory / "polkit"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("actions", "rules", "none"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "actions" / ACTIONS.name).write_text(ACTIONS.read_text().replace(OWNER, owner))
        (self._folder / "rules" / "10-test.rules").write_text(rules)

    async def start(self, client: Client) -> None:
        """Until it answers. client: of the bus."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 (forking is all it waits for)
            ["unshare", "--mount", "--propagation=private", "sh", "-c", _SCRIPT, "-", self._folder, _PROGRAM],
            env={"DBUS_SYSTEM_BUS_ADDRESS": self._bus.address, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdout=subprocess.DEVNULL,
        )
        await wait_until(lambda: client.has_owner(POLKIT), "polkitd has its name")

    def pause(self) -> None:
        """It neither reads nor writes until resume()."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._send(signal.SIGKILL)
            self._process.wait(_TIMEOUT_S)
            self._process = None

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@asynccontextmanager
async def polkitd(bus: BusDaemon, rules: str, owner: str = OWNER) -> AsyncIterator[Polkitd]:
    running = Polkitd(bus, rules, owner)
    client = await Client.connect(bus.address)
    try:
        await running.start(client)
        yield running
    finally:
        await client.close()
        running.kill()


class Agent:
    """The dialog for one process, in which an administrator, root here, types the password when told to.

    asked: the action and the message of each question, as they come. cancelled: set when polkit takes a
    dialog from the screen.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cookie = ""
        self._begun: Any = None
        self.asked: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.cancelled = asyncio.Event()
        client.bus.add_message_handler(self._take)

    async def register(self, pid: int) -> None:
        process = {
            "pid": self._client.variant("u", pid),
            "start-time": self._client.variant("t", _start_time(pid)),
            "uid": self._client.variant("i", _uid(pid)),
        }
        await self._ask("RegisterAuthenticationAgent", "(sa{sv})ss", ["unix-process", process], "C", _AGENT)

    async def answer(self) -> None:
        """The right password."""
        identity = ["unix-user", {"uid": self._client.variant("u", 0)}]
        await self._ask("AuthenticationAgentResponse2", "us(sa{sv})", 0, self._cookie, identity)
        await self.dismiss()

    async def dismiss(self) -> None:
        """The dialog is closed."""
        await self._client.bus.send(self._client.module.Message.new_method_return(self._begun))

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, member: str, signature: str, *args: Any) -> None:
        await self._client.call(
            _AUTHORITY, f"{POLKIT}.Authority", member, signature, args, destination=POLKIT
        )

    def _take(self, message: Any) -> Any:
        if message.interface != _AGENT_INTERFACE:
            return None
        if message.member == "CancelAuthentication":
            self.cancelled.set()
            return self._client.module.Message.new_method_return(message)
        action, text, _icon, _details, self._cookie, _identities = message.body
        self._begun = message
        self.asked.put_nowait((action, text))
        return True


def _start_time(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def _uid(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))

"""Starting and ending the real daemon for tests: a process of its own, on a bus of the test's own."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.client import ROOT, SERVICE, CallFailed, Client, wait_until
from tests.support.leap import LEAPT, TURNS

REPOSITORY = Path(__file__).resolve().parents[2]


class Daemon:
    """`python -m virtbridge` as a child. stop() is the test of a clean end."""

    def __init__(
        self, process: subprocess.Popen[bytes], log: IO[bytes], address: str, names: Sequence[str]
    ) -> None:
        self.process = process
        self.address = address
        self.connections = list(names)
        self._log = log

    @classmethod
    async def start(
        cls,
        address: str,
        connections: Mapping[str, str],
        *,
        library: str | None = None,
        python: str = sys.executable,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = ("-m", "virtbridge"),
        leaps: bool = False,
        session: bool = True,
        ready: bool = True,
        timeout_s: float = 30,
    ) -> "Daemon":
        """Returns once the name is owned and, where `ready`, all connections are.

        library: dbus-fast or dbus-next. command: what stands in for `-m virtbridge`. leaps: whether leap() is
        going to be called. session: whether the bus at address stands for the session's, or for the system's.
        """
        if leaps:
            command = ("-m", "tests.support.leap")
        words = [python, *command, *(["--session"] if session else [])]
        for name, uri in connections.items():
            words += ["--connect", f"{name}={uri}"]
        environment = {
            **os.environ,
            f"DBUS_{'SESSION' if session else 'SYSTEM'}_BUS_ADDRESS": address,
            "PYTHONPATH": str(REPOSITORY),
            **(env or {}),
        }
        if library:
            environment["VIRTBRIDGE_DBUS_LIBRARY"] = library
        log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        process = subprocess.Popen(  # noqa: ASYNC220 (forking is all it waits for)
            [*words, *args], env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=REPOSITORY
        )
        daemon = cls(process, log, address, list(connections))
        try:
            await daemon._wait(ready, timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            print(daemon.log())
            log.close()
            raise
        return daemon

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """Everything it has written so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    async def _wait(self, ready: bool, timeout_s: float) -> None:
        client = await Client.connect(self.address)
        try:
            await wait_until(lambda: self._named(client), "the daemon has its name", timeout_s)
            for name in self.connections if ready else ():
                await self.wait_state(client, name, "ready", timeout_s)
            if ready:
                await wait_until(lambda: self._settled(client), "the last call is made", timeout_s)
        finally:
            await client.close()

    async def _settled(self, client: Client) -> bool:
        """Whether the only call that comes after a sync by itself has come, so that tests can count calls."""
        return (await client.counters()).get("libvirt.getVersion", 0) >= len(self.connections)

    async def _named(self, client: Client) -> bool:
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}"
        return await client.has_owner()

    async def wait_state(self, client: Client, name: str, state: str, timeout_s: float = 30) -> None:
        """Until Connection.State of this connection is `state`."""

        async def reached() -> bool:
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}"
            try:
                return bool(await client.get(f"{ROOT}/{name}", f"{SERVICE}.Connection", "State") == state)
            except CallFailed:
                return False

        await wait_until(reached, f"{name} is {state}", timeout_s)

    async def leap(self, client: Client) -> None:
        """Let LEAP_S pass by the daemon's clock, and all that is due begin."""
        leaps = self.log().count(LEAPT)
        self.process.send_signal(signal.SIGUSR1)
        await wait_until(lambda: self.log().count(LEAPT) > leaps, "time has leapt")
        for _ in range(TURNS):  # each answer takes the loop a turn at least
            await client.counters()

    async def is_quiet(self, client: Client) -> bool:
        """Whether no call of libvirt is in flight or waiting, and no reading is between two of its calls."""
        counters = await client.counters()
        ends = (".running", ".waiting", ".readings")
        return not any(count for name, count in counters.items() if name.endswith(ends))

    async def stop(self, timeout_s: float = 10) -> None:
        """SIGTERM; fails unless it ends by itself with status 0 and has written no traceback."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self.process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            print(self.log())
            raise AssertionError(f"still there {timeout_s} s after SIGTERM") from None
        log = self.log()
        self._log.close()
        assert "Traceback" not in log, log
        assert self.process.returncode == 0, f"exit status {self.process.returncode}\n{log}"

    def kill(self) -> None:
        """For clean-up when the end is not what is being tested."""
        self.process.kill()
        self.process.wait()
        self._log.close()

"""A slow link: a delay line in front of a Unix socket, for the round trips that a budget is about.

What is read on one side is written on the other delay_s later, however much is under way: latency without a
limit on bandwidth. Everything runs on the test's own asyncio loop, so the client must sit in another thread,
as libvirt does.
"""

import asyncio
from pathlib import Path
from types import TracebackType

CHUNK = 1 << 20


class SlowLink:
    """async with SlowLink(target, path, delay_s): … A round trip takes twice delay_s."""

    def __init__(self, target: Path, path: Path, delay_s: float) -> None:
        self.target = target
        self.path = path
        self.delay_s = delay_s
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def round_trip_s(self) -> float:
        return 2 * self.delay_s

    async def __aenter__(self) -> "SlowLink":
        self._server = await asyncio.start_unix_server(self._accepted, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        try:
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction. Each piece has its own timer; timers of equal delay fire in their order."""
        loop = asyncio.get_running_loop()
        while data := await reader.read(CHUNK):
            loop.call_later(self.delay_s, writer.write, data)
        await asyncio.sleep(self.delay_s)
        writer.close()

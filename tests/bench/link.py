"""A slow link: a socket that forwards to another one, every byte later by a fixed delay, in order.

`python -m tests.bench.link FRONT BACK DELAY_MS`: the delay of one way. It ends with SIGTERM.
"""

import asyncio
import sys
from collections import deque


class _OneWay(asyncio.Protocol):
    """Bytes from this transport to `other`, each after the delay."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._pending: deque[bytes] = deque()
        self.other: _OneWay | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending.append(data)
        asyncio.get_running_loop().call_later(self._delay_s, self._forward)

    def _forward(self) -> None:
        data = self._pending.popleft()
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()


async def serve(front: str, back: str, delay_s: float) -> None:
    loop = asyncio.get_running_loop()

    class Accepted(_OneWay):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            self.joining = loop.create_task(self._join(transport))

        async def _join(self, transport: asyncio.Transport) -> None:
            _, self.other = await loop.create_unix_connection(lambda: _OneWay(delay_s), back)
            self.other.other = self
            transport.resume_reading()

    server = await loop.create_unix_server(lambda: Accepted(delay_s), front)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000))

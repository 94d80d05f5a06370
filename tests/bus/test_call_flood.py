"""One client asks for more than anybody can do at once; how soon another one is answered, by the order of the
replies and by nothing that a clock says.
"""

import struct
from pathlib import Path

from tests.bus.test_budget import daemon_with
from tests.support.client import PROPERTIES, ROOT, SERVICE
from tests.support.rawbus import RawBus, spin, text

NODE = Path(__file__).parents[1] / "data" / "node.xml"
DOMAIN = f"{SERVICE}.Domain"
FLOOD = 20_000
# Replies to the flood that may come between another client's call and its reply. dbus-daemon itself lets some
# hundred calls of the flood stand before the other's.
BETWEEN = FLOOD // 4
# {"inactive": true}, which libvirt is asked for each time.
INACTIVE = struct.pack("<I4xI", 20, 8) + b"inactive\0\1b\0" + struct.pack("<I", 1)


async def test_another_client_is_answered_while_one_floods_with_calls_to_libvirt() -> None:
    async with daemon_with(f"test://{NODE}") as (daemon, client):
        path = next(path for path in await client.managed_objects() if "/domain/" in path)
        flooder, other = RawBus(daemon.address), RawBus(daemon.address)
        answered = [0]
        sent_at: list[int] = []
        between: list[int] = []
        get = (SERVICE, path, PROPERTIES, "Get", "ss", text(DOMAIN, "State"))

        def ask() -> None:
            sent_at.append(answered[0])
            other.send(other.frame(*get))

        def on_flood_reply(_kind: int, _serial: int, _body: bytes) -> None:
            answered[0] += 1
            if not sent_at:
                ask()

        def on_reply(_kind: int, _serial: int, _body: bytes) -> None:
            between.append(answered[0] - sent_at[-1])
            if answered[0] < FLOOD:
                ask()

        flooder.on_reply, other.on_reply = on_flood_reply, on_reply
        for bus in (flooder, other):
            bus.sock.setblocking(False)
        call = (SERVICE, path, DOMAIN, "GetXml", "a{sv}", INACTIVE)
        flooder.send_all([flooder.frame(*call) for _ in range(FLOOD)])
        spin([flooder, other], lambda: len(between) == len(sent_at) and answered[0] == FLOOD, 120, 0.05)
        assert max(between) < BETWEEN
        assert await client.get(ROOT, f"{SERVICE}.Manager", "Version")
        for bus in (flooder, other):
            bus.close()

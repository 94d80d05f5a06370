"""How a bus is reached: its address, the socket, and the handshake before the first message.

Addresses: unix:path=, unix:abstract=, unix:runtime=yes and tcp:host=,port=. Several, separated by `;`, are
tried in order. Authentication is EXTERNAL: the kernel vouches for who we are.
Source: https://dbus.freedesktop.org/doc/dbus-specification.html#addresses and #auth-protocol
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

HANDSHAKE_TIMEOUT_S: Final = 20.0
_LINE_BYTES: Final = 4096


class DialError(ConnectionError):
    """No bus answers at this address. The text gives the reason for each part of the address."""


async def dial(address: str) -> tuple[socket.socket, bool]:
    """Return an authenticated, non-blocking socket, and whether it carries descriptors. Raises DialError."""
    reasons: list[str] = []
    for family, where in _places(address, reasons):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(sock, where)
                return sock, await _authenticate(sock)
        except (OSError, TimeoutError, UnicodeError) as error:  # the last of a host's name
            sock.close()
            reasons.append(f"{_shown(where)}: {str(error) or 'no answer'}")
        except BaseException:
            sock.close()
            raise
    raise DialError("cannot reach the bus: " + ("; ".join(reasons) or "the address is empty"))


def _places(address: str, reasons: list[str]) -> Iterator[tuple[int, bytes | str | tuple[str, int]]]:
    """Yield the family and socket address of every part that we can use, and append a reason
    for every other.
    """
    for part in filter(None, address.split(";")):
        transport, _, text = part.partition(":")
        keys = dict(pair.partition("=")[::2] for pair in text.split(",") if pair)
        values = {key: unquote_to_bytes(value) for key, value in keys.items()}
        match transport, values:
            case "unix", {"path": path}:
                yield socket.AF_UNIX, path
            case "unix", {"abstract": name}:
                yield socket.AF_UNIX, b"\0" + name
            case "unix", {"runtime": b"yes"} if "XDG_RUNTIME_DIR" in os.environ:
                yield socket.AF_UNIX, os.environ["XDG_RUNTIME_DIR"] + "/bus"
            case "tcp", {"host": host, "port": port} if port.isdigit() and int(port) < 1 << 16:
                yield socket.AF_INET6 if b":" in host else socket.AF_INET, (os.fsdecode(host), int(port))
            case _:
                reasons.append(f"{part}: not an address we can use")


def _shown(where: bytes | str | tuple[str, int]) -> str:
    return os.fsdecode(where).replace("\0", "@") if isinstance(where, bytes) else str(where)


async def _authenticate(sock: socket.socket) -> bool:
    """Return whether the bus agreed to carry descriptors. Raises DialError."""
    answer = await _ask(sock, b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode())
    if not answer.startswith(b"OK"):
        raise DialError(f"the bus did not accept us: {answer.decode('ascii', 'replace')}")
    passes_fds = sock.family == socket.AF_UNIX and await _ask(sock, b"NEGOTIATE_UNIX_FD") == b"AGREE_UNIX_FD"
    await asyncio.get_running_loop().sock_sendall(sock, b"BEGIN\r\n")
    return passes_fds


async def _ask(sock: socket.socket, line: bytes) -> bytes:
    """Send one line, and return its answer. Nothing follows it: the bus sends nothing unasked
    before BEGIN.
    """
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, line + b"\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        data = await loop.sock_recv(sock, _LINE_BYTES)
        if not data or len(answer) > _LINE_BYTES:
            raise DialError("the bus ended the handshake")
        answer += data
    return answer[:-2]

"""The outgoing queue: frames and descriptors on their way into the socket.

It owns what the libraries' writers get wrong: a full socket is no error but a reason to wait, a message may
go out in parts, descriptors go with the first byte of their message, and the queue's length is known.
Main thread only; knows the socket, not the loop.
"""

import socket
import struct
from collections import deque
from collections.abc import Sequence

from virtbridge.wire.framing import close_all

_GATHER_BYTES = 256 * 1024  # about what a socket takes at once: copying more than that would be for nothing


class Outgoing:
    """queued_bytes: what the kernel has not taken yet."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames: deque[bytes | memoryview] = deque()
        # Descriptors of frames in the queue, by the count of frames ever pushed: few frames have any.
        self._fds: dict[int, tuple[int, ...]] = {}
        self._pushed = 0
        self.queued_bytes = 0

    def push(self, frame: bytes | memoryview, fds: Sequence[int] = ()) -> None:
        """The descriptors are ours from here on: closed when sent, or when the queue is closed."""
        if fds:
            self._fds[self._pushed] = tuple(fds)
        self._pushed += 1
        self._frames.append(frame)
        self.queued_bytes += len(frame)

    def write(self) -> bool:
        """Give the kernel what it takes; True when nothing is left. Raises OSError: the socket is dead."""
        while self._frames:
            try:
                if not self._write_some():
                    return False
            except (BlockingIOError, InterruptedError):
                return False
        return True

    def _write_some(self) -> bool:
        """One system call: many small frames, or one with descriptors. False when it took only a part."""
        frames = self._frames
        first = self._pushed - len(frames)
        fds = self._fds.get(first) if self._fds else None
        if fds:
            chunk, count = frames[0], 1
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
            sent = self._sock.sendmsg([chunk], [rights])
            close_all(self._fds.pop(first))  # the first byte took them along, whatever is left to send
        else:
            chunk, count = self._gather()
            sent = self._sock.send(chunk)
        self.queued_bytes -= sent
        for _ in range(count):
            frames.popleft()
        if sent < len(chunk):
            frames.appendleft(memoryview(chunk)[sent:])
            return False
        return True

    def close(self) -> None:
        for fds in self._fds.values():
            close_all(fds)
        self._fds.clear()
        self._frames.clear()
        self.queued_bytes = 0

    def _gather(self) -> tuple[bytes | memoryview, int]:
        """Frames from the front, as one piece, and how many they are; none that has descriptors."""
        frames = self._frames
        if len(frames) == 1:
            return frames[0], 1
        first = self._pushed - len(frames)
        pieces: list[bytes | memoryview] = []
        size = 0
        for frame in frames:
            if pieces and (
                size + len(frame) > _GATHER_BYTES or (self._fds and first + len(pieces) in self._fds)
            ):
                break
            pieces.append(frame)
            size += len(frame)
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), len(pieces)

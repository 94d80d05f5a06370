"""The outgoing queue: messages and descriptors on their way into the socket.

It does what the libraries' writers do wrong: a full socket is no error but a reason to wait, a message may
leave in parts, and descriptors leave with the first byte of their message. The length of the queue is known,
for each client too: a client whose replies leave slowly gets no further replies meanwhile.
Main thread only; this module knows the socket, not the loop.
"""

import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence

from virtbridge.limiter import Bounds, Limiter
from virtbridge.wire.framing import close_all

_GATHER_BYTES = 256 * 1024  # about what a socket takes at once: copying more than that would be for nothing
# What one call of write() sends at most: a bus that reads as fast as we write would keep the loop busy for
# all of a message of 15 MB.
_TURN_BYTES = 1024 * 1024


Owner = tuple[int, str]  # the user and the client that a frame is for


class Outgoing:
    """queued_bytes: what the kernel has not taken yet. replies: how many of these bytes belong to which
    client.
    """

    def __init__(self, sock: socket.socket, bounds: Bounds) -> None:
        self._sock = sock
        self._frames: deque[bytes | memoryview] = deque()
        # Descriptors of frames in the queue, by the count of frames ever pushed: few frames have any.
        self._fds: dict[int, tuple[int, ...]] = {}
        self._pushed = 0
        self.queued_bytes = 0
        # The owners of the frames in the queue. Bytes are counted for them only from when a write has left
        # something behind, which is seldom, until nothing is left.
        self._owners: deque[Owner | None] = deque()
        self._counted = 0
        self.replies = Limiter("bytes of replies", bounds)

    def push(self, frame: bytes | memoryview, fds: Sequence[int] = (), owner: Owner | None = None) -> None:
        """Queue a frame. The queue owns the descriptors from here on, and closes them when they are sent or
        when it is closed itself.
        """
        if not frame:
            return
        if fds:
            self._fds[self._pushed] = tuple(fds)
        self._pushed += 1
        self._frames.append(frame)
        self._owners.append(owner)
        self.queued_bytes += len(frame)
        if self._counted:
            self._count(frame, owner)

    def push_parts(self, parts: Iterable[bytes | memoryview], owner: Owner | None = None) -> None:
        """Queue one frame in parts, which are joined no sooner than the socket takes them."""
        for part in parts:
            self.push(part, owner=owner)

    def write(self) -> bool:
        """Give the kernel what it takes; True when nothing is left. Raises OSError: the socket is dead."""
        enough = self.queued_bytes - _TURN_BYTES
        while self._frames:
            if self.queued_bytes <= enough:
                break
            try:
                if not self._write_some():
                    break
            except (BlockingIOError, InterruptedError):
                break
        if not self._counted:
            for frame, owner in zip(self._frames, self._owners, strict=True):
                self._count(frame, owner)
        return not self._frames

    def _write_some(self) -> bool:
        """Make one system call: many small frames, or one with descriptors. False when not all was taken."""
        frames = self._frames
        first = self._pushed - len(frames)
        fds = self._fds.get(first) if self._fds else None
        if fds:
            chunk = frames[0]
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
            sent = self._sock.sendmsg([chunk], [rights])
            close_all(self._fds.pop(first))  # the first byte took them along, whatever is left to send
        else:
            chunk = self._gather()
            sent = self._sock.send(chunk)
        self._remove(sent)
        return sent == len(chunk)

    def _remove(self, sent: int) -> None:
        """Remove so many bytes from the front: complete frames, and perhaps the beginning of one more."""
        frames, owners = self._frames, self._owners
        self.queued_bytes -= sent
        if not (self.queued_bytes or self._counted):  # all at once, as nearly always
            frames.clear()
            owners.clear()
            return
        while sent:
            frame, owner = frames[0], owners[0]
            taken = min(sent, len(frame))
            if self._counted and owner is not None:
                self.replies.give_back(*owner, taken)
            if taken == len(frame):
                frames.popleft()
                owners.popleft()
                self._counted -= self._counted > 0
            else:
                frames[0] = memoryview(frame)[taken:]
            sent -= taken

    def _count(self, frame: bytes | memoryview, owner: Owner | None) -> None:
        self._counted += 1
        if owner is not None:
            self.replies.count(*owner, len(frame))

    def close(self) -> None:
        for fds in self._fds.values():
            close_all(fds)
        self._fds.clear()
        self._frames.clear()
        self._owners.clear()
        self._counted = self.queued_bytes = 0

    def _gather(self) -> bytes | memoryview:
        """Join frames from the front, none of which has descriptors."""
        frames = self._frames
        if len(frames) == 1:
            return frames[0]
        first = self._pushed - len(frames)
        gathered: list[bytes | memoryview] = []
        size = 0
        for frame in frames:
            if gathered and (
                size + len(frame) > _GATHER_BYTES or (self._fds and first + len(gathered) in self._fds)
            ):
                break
            gathered.append(frame)
            size += len(frame)
        return gathered[0] if len(gathered) == 1 else b"".join(gathered)

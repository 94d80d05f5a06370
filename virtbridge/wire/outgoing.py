"""The outgoing queue: messages and descriptors on their way into the socket.

It does what the libraries' writers do wrong: a full socket is no error but a reason to wait, a message may
leave in parts, and descriptors leave with the first byte of their message.

While the bus takes less than is sent, replies leave in the turns of their clients, so that who has asked for
one thing does not wait behind the replies to a flood. A reply overtakes no signal: its client would take the
older value of the signal for the newer one. A client whose replies leave slowly gets no further ones
meanwhile.
Main thread only; this module knows the socket, not the loop.
"""

import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from virtbridge.limiter import Bounds, Limiter
from virtbridge.round_robin import RoundRobin
from virtbridge.wire.framing import close_all

_GATHER_BYTES = 256 * 1024  # about what a socket takes at once: copying more than that would be for nothing
# What one call of write() sends at most: a bus that reads as fast as we write would keep the loop busy for
# all of a message of 15 MB.
_TURN_BYTES = 1024 * 1024
# How many bytes of replies get their final order at a time.
_ORDERED_BYTES = 4 * 1024
# The socket's buffer: nothing overtakes what the kernel has, and the bus reads 2 KiB at a time, so that under
# a flood it takes some 4 ms for what these 8 KiB (which the kernel doubles) hold.
_BUFFER_BYTES: Final = 8 * 1024
# While a message larger than this leaves: it is what the others wait for then, and it leaves faster when the
# bus does not wait for us after each few KiB of it.
_LARGE_BUFFER_BYTES: Final = 64 * 1024


Frame = bytes | memoryview
Owner = tuple[int, str]  # the user and the client that a frame is for


class Outgoing:
    """queued_bytes: what the kernel has not taken yet. replies: how many of these bytes belong to which
    client; they are counted only while the bus takes less than is sent, which is seldom.
    """

    def __init__(self, sock: socket.socket, bounds: Bounds) -> None:
        self._sock = sock
        self._buffer_bytes = 0
        self._set_buffer(_BUFFER_BYTES)
        # What leaves next, in its final order, and the owner of each frame.
        self._frames: deque[Frame] = deque()
        self._owners: deque[Owner | None] = deque()
        # Descriptors of frames in the queue, by the count of frames ever ordered: few frames have any.
        self._fds: dict[int, tuple[int, ...]] = {}
        self._ordered = 0
        # Replies behind these, each in its parts, which leave in the turns of their clients.
        self._unordered: RoundRobin[tuple[Owner, Sequence[Frame]]] = RoundRobin()
        self._behind = False  # a write has left something, and not all of it has left since
        self.queued_bytes = 0
        self.replies = Limiter("bytes of replies", bounds)

    def push(self, frame: Frame, fds: Sequence[int] = (), owner: Owner | None = None) -> None:
        """Queue a frame. The queue owns the descriptors from here on, and closes them when they are sent or
        when it is closed itself.
        """
        if not frame:
            return
        self.queued_bytes += len(frame)
        if self._behind:
            self._push_behind((frame,), fds, owner)
            return
        if fds:
            self._fds[self._ordered] = tuple(fds)
        self._ordered += 1
        self._frames.append(frame)
        self._owners.append(owner)

    def push_parts(self, parts: Sequence[Frame], owner: Owner | None = None) -> None:
        """Queue one message in parts, which are joined no sooner than the socket takes them."""
        parts = [part for part in parts if part]
        size = sum(map(len, parts))
        if size > _LARGE_BUFFER_BYTES:
            self._set_buffer(_LARGE_BUFFER_BYTES)
        self.queued_bytes += size
        if self._behind:
            self._push_behind(parts, (), owner)
        else:
            self._order(parts, owner)

    def write(self) -> bool:
        """Give the kernel what it takes; True when nothing is left. Raises OSError: the socket is dead."""
        enough = self.queued_bytes - _TURN_BYTES
        while self.queued_bytes > max(enough, 0):
            if not self._frames:
                self._order_some(_ORDERED_BYTES)
            try:
                if not self._write_some():
                    break
            except (BlockingIOError, InterruptedError):
                break
        if not self.queued_bytes:
            self._behind = False
            self._set_buffer(_BUFFER_BYTES)
        elif not self._behind:
            self._behind = True
            for frame, owner in zip(self._frames, self._owners, strict=True):
                if owner is not None:
                    self.replies.count(*owner, len(frame))
        return not self._behind

    def _push_behind(self, parts: Sequence[Frame], fds: Sequence[int], owner: Owner | None) -> None:
        """Queue a message behind others: a reply in its client's turn, anything else as the last of all."""
        if owner is not None:
            self.replies.count(*owner, sum(map(len, parts)))
            if not fds:
                self._unordered.push(*owner, (owner, parts))
                return
        self._order_some(self.queued_bytes)
        if fds:
            self._fds[self._ordered] = tuple(fds)
        self._order(parts, owner)

    def _order_some(self, size: int) -> None:
        """Give about so many bytes of replies their final order, by whose turn it is now."""
        while size > 0 and (reply := self._unordered.pop()) is not None:
            owner, parts = reply
            self._order(parts, owner)
            size -= sum(map(len, parts))

    def _order(self, parts: Sequence[Frame], owner: Owner | None) -> None:
        self._frames.extend(parts)
        self._owners.extend([owner] * len(parts))
        self._ordered += len(parts)

    def _set_buffer(self, size: int) -> None:
        if size != self._buffer_bytes:
            self._buffer_bytes = size
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def _write_some(self) -> bool:
        """Make one system call: many small frames, or one with descriptors. False when not all was taken."""
        frames = self._frames
        first = self._ordered - len(frames)
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
        if not (self.queued_bytes or self._behind):  # all at once, as nearly always
            frames.clear()
            owners.clear()
            return
        while sent:
            frame, owner = frames[0], owners[0]
            taken = min(sent, len(frame))
            if self._behind and owner is not None:
                self.replies.give_back(*owner, taken)
            if taken == len(frame):
                frames.popleft()
                owners.popleft()
            else:
                frames[0] = memoryview(frame)[taken:]
            sent -= taken

    def close(self) -> None:
        for fds in self._fds.values():
            close_all(fds)
        self._fds.clear()
        self._frames.clear()
        self._owners.clear()
        self._unordered = RoundRobin()
        self.queued_bytes = 0

    def _gather(self) -> bytes | memoryview:
        """Join frames from the front, none of which has descriptors."""
        frames = self._frames
        if len(frames) == 1:
            return frames[0]
        first = self._ordered - len(frames)
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

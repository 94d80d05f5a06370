"""The program that evaluates QueryXml, each query in a process of its own, and marshals the reply's body.

So the service only has to send an answer. cache/fork_server.py runs it.
"""

import socket
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from virtbridge.cache.evaluation import evaluate
from virtbridge.cache.forking import DONE, REFUSED, serve
from virtbridge.cache.query_bounds import ANSWER_BYTES_MAX, confine
from virtbridge.cache.query_files import read_work, write_error
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.wire.bodies import PADDING, UINT32, pack_string

_HEAD_BYTES = 8  # the array's length, and the padding before its first entry


def answer_query(cpu_seconds: int, work: BinaryIO, answer: BinaryIO) -> bytes:
    confine(cpu_seconds)
    try:
        query, documents = read_work(work)
        write_body(answer, evaluate(query, documents))
    except BridgeError as error:
        write_error(answer, error)
        return REFUSED
    return DONE


def write_body(
    file: BinaryIO, rows: Iterable[tuple[str, Iterator[str]]], most_bytes: int = ANSWER_BYTES_MAX
) -> None:
    """Write a body `a{oas}` at the file's beginning, without rows that have no string. One row is in memory
    at a time. Raises LimitExceeded when it would be longer than most_bytes.
    """
    file.write(bytes(_HEAD_BYTES))
    size = _HEAD_BYTES
    for path, texts in rows:
        padding = PADDING[-size & 7]
        entry = _entry(path, texts, most_bytes - size - len(padding))
        if entry:
            file.write(padding + entry)
            size += len(padding) + len(entry)
    file.seek(0)
    file.write(UINT32.pack(size - _HEAD_BYTES))
    file.flush()


def _entry(path: str, texts: Iterator[str], room_bytes: int) -> bytearray:
    """Marshal `{oas}`, not padded; it is empty when there are no texts."""
    made = bytearray(pack_string(path))
    made += PADDING[-len(made) & 3] + bytes(4)
    start = len(made)
    for text in texts:
        made += PADDING[-len(made) & 3]
        made += pack_string(text)
        if len(made) > room_bytes:
            most = f"{ANSWER_BYTES_MAX >> 20} MiB"
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"the matches are more than {most}")
    if len(made) == start:
        return bytearray()
    UINT32.pack_into(made, start - 4, len(made) - start)
    return made


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()), answer_query)

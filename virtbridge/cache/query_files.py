"""What a query's process reads and writes: files in memory between it and the service.

The work is one line of JSON, the query, then each document as two lengths, its key and its XML. Both sides
take one document at a time: all of them together are in memory once, in the file. The answer is the program's
own, or an error as JSON.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from struct import Struct
from typing import BinaryIO

from virtbridge.cache.evaluation import Query
from virtbridge.errors import BridgeError, ErrorKind

_LENGTHS = Struct("<II")
_SURROGATES = "surrogatepass"  # such a document is refused by whoever reads it as XML, and no other with it
_ERROR_BYTES_MAX = 64 << 10


def write_work(file: BinaryIO, query: Query, documents: Mapping[str, str]) -> None:
    """Leave the file at its beginning. Any thread: no step keeps the interpreter's lock for long."""
    file.write(json.dumps(asdict(query)).encode() + b"\n")
    for key, xml in documents.items():
        name, text = key.encode(), xml.encode("utf-8", _SURROGATES)
        file.write(_LENGTHS.pack(len(name), len(text)) + name)
        file.write(text)
    file.seek(0)


def read_work(file: BinaryIO) -> tuple[Query, Iterator[tuple[str, str]]]:
    """The query, and its documents by their keys, read as they are asked for."""
    return Query(**json.loads(file.readline())), _documents(file)


def _documents(file: BinaryIO) -> Iterator[tuple[str, str]]:
    while lengths := file.read(_LENGTHS.size):
        name_bytes, xml_bytes = _LENGTHS.unpack(lengths)
        name = file.read(name_bytes).decode()
        yield name, file.read(xml_bytes).decode("utf-8", _SURROGATES)


def write_error(file: BinaryIO, error: BridgeError) -> None:
    """In place of whatever the answer's file holds already."""
    file.seek(0)
    file.truncate()
    file.write(json.dumps([error.kind.value, error.message]).encode())
    file.flush()


def read_error(file: BinaryIO) -> BridgeError:
    file.seek(0)
    kind, text = json.loads(file.read(_ERROR_BYTES_MAX))
    return BridgeError(ErrorKind(kind), text)

"""Files in memory between the service and a query's process.

The work file holds one line of JSON, which is the query, and then each document: two lengths, its key and its
XML. All documents together are in memory once, in the file; each side reads or writes one document at a time.
The answer file holds the program's own format, or an error as JSON.
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
    """Write the work and rewind the file. Any thread: no step keeps the interpreter's lock for long."""
    file.write(json.dumps(asdict(query)).encode() + b"\n")
    for key, xml in documents.items():
        name, text = key.encode(), xml.encode("utf-8", _SURROGATES)
        file.write(_LENGTHS.pack(len(name), len(text)) + name)
        file.write(text)
    file.seek(0)


def read_work(file: BinaryIO) -> tuple[Query, Iterator[tuple[str, str]]]:
    """Return the query and an iterator over its documents by key, which reads each document when it is
    needed.
    """
    return Query(**json.loads(file.readline())), _documents(file)


def _documents(file: BinaryIO) -> Iterator[tuple[str, str]]:
    while lengths := file.read(_LENGTHS.size):
        name_bytes, xml_bytes = _LENGTHS.unpack(lengths)
        name = file.read(name_bytes).decode()
        yield name, file.read(xml_bytes).decode("utf-8", _SURROGATES)


def write_error(file: BinaryIO, error: BridgeError) -> None:
    """Replace the contents of the answer file by an error."""
    file.seek(0)
    file.truncate()
    file.write(json.dumps([error.kind.value, error.message]).encode())
    file.flush()


def read_error(file: BinaryIO) -> BridgeError:
    file.seek(0)
    kind, text = json.loads(file.read(_ERROR_BYTES_MAX))
    return BridgeError(ErrorKind(kind), text)

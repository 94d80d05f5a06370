"""Reads definitions: the XML of one object or of many objects of any kind, and parses it.

An object whose XML cannot be read is logged once and does not make the others fail; the caller decides what
becomes of its record. rereads.py and refresh.py decide when a definition is read again. Main thread.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import PARENT_KIND, Key, Kind
from virtbridge.model.xml import BadXml
from virtbridge.source.callbacks import Lookup, Problems
from virtbridge.source.calls.batch import Read
from virtbridge.source.calls.errors import is_unsupported, problem_of
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.source.kinds.table import KINDS

log = logging.getLogger(__name__)

# Fields of a record: definition, xml, problem, and those that row.getters names. When the XML cannot be read,
# only problem.
Fields = dict[str, Any]
Settle = Callable[[Key, Fields, BridgeError | None], None]


class Definitions:
    """problems: why objects cannot be read, each logged once. The connection keeps it for as long as it is
    configured.
    """

    def __init__(self, session: Session, problems: Problems) -> None:
        self._session = session
        self._problems = problems

    async def read(self, key: Key, handle: Handle) -> Fields:
        """Return the record's fields that the XML and the getters give; only `problem` when the XML cannot be
        read. Raises BridgeError.
        """
        row = KINDS[key.kind]
        try:
            fields: Fields = await self._session.on(
                handle.raw, row.read_xml, 0, short=True, then=partial(_parsed, row)
            )
        except (BadXml, UnicodeError) as error:
            return {"problem": self.note_problem(key, problem_of(error))}
        self._problems.pop(key, None)
        return await self.completed(key, handle, fields)

    async def read_many(self, method: str, handles: Iterator[tuple[Key, Handle]], settle: Settle) -> None:
        """Read many objects, several at a time, without the getters.

        method: the row.read_xml of all of them. settle: is called once for each object, as they arrive, with
        its fields or its error. Raises BridgeError when the host does not answer at all; settle is not called
        for the remaining objects then.
        """

        def settled(key: Key, fields: Any, error: Exception | None) -> None:
            if error is None:
                self._problems.pop(key, None)
                settle(key, fields, None)
            elif isinstance(error, BridgeError):
                settle(key, {}, error)
            else:
                settle(key, {"problem": self.note_problem(key, problem_of(error))}, None)

        reads = (
            Read(key, partial(getattr(handle.raw, method), 0), partial(_parsed, KINDS[key.kind]))
            for key, handle in handles
        )
        await self._session.workers.read_many(method, reads, settled)

    def needs_completion(self, key: Key, fields: Fields) -> bool:
        return "definition" in fields and bool(KINDS[key.kind].getters(fields["definition"]))

    async def completed(self, key: Key, handle: Handle, fields: Fields) -> Fields:
        """Add the fields that the getters give. Raises BridgeError.

        A getter that the host does not have or refuses is left out. For example libvirt refuses
        virNodeDeviceGetAutostart() on a read-only connection, and the definition is useful without it.
        """
        answers: Fields = {}
        for field, method in KINDS[key.kind].getters(fields["definition"]).items():
            try:
                answers[field] = await self._session.on(handle.raw, method, short=True, then=bool)
            except BridgeError as error:
                if not (is_unsupported(error) or error.kind is ErrorKind.NOT_AUTHORIZED):
                    raise
        return fields | answers if answers else fields

    def is_unreadable(self, key: Key) -> bool:
        return key in self._problems

    def note_problem(self, key: Key, problem: str) -> str:
        """Note and log why an object cannot be read. It is a text, since an error in a log record would keep
        its traceback, and that a handle. Returns the text.
        """
        if key not in self._problems:
            log.warning("unreadable XML conn=%s kind=%s id=%s parent=%s error=%s", *key, problem)
        self._problems[key] = problem
        return problem

    def note_unnamed(self, scope: Key, number: int) -> None:
        """Note how many objects of a listing have a name that cannot be read. scope: a key without id."""
        if number:
            self.note_problem(scope, f"{number} of them have a name that is not UTF-8")
        else:
            self._problems.pop(scope, None)

    def left_out(
        self, scope: Key, records: Collection[str], ids: Collection[str], lookup: Lookup
    ) -> list[str]:
        """Say which objects in the parent of this scope cannot be read, for all kinds that are read on
        demand.

        records, ids: the known and the listed objects of the scope's kind.
        """
        for key in [key for key in self._problems if key.kind is scope.kind and key.parent == scope.parent]:
            if key.id and key.id not in ids:
                del self._problems[key]
        outer = PARENT_KIND.get(scope.kind, Kind.CONNECTION)
        return [
            f"{key.kind} {key.id}: {problem}" if key.id else f"{key.kind}: {problem}"
            for key, problem in sorted(self._problems.items())
            if KINDS[key.kind].events is None
            and (PARENT_KIND.get(key.kind, Kind.CONNECTION), key.parent) == (outer, scope.parent)
            and (key.id not in records if key.kind is scope.kind else lookup(key) is None)
        ]


def _parsed(row: KindRow, xml: str) -> Fields:
    return {"definition": row.parse(xml), "xml": xml, "problem": ""}

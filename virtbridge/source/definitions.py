"""Reading definitions: the XML of one object or of many, parsed, for every kind.

An object whose XML cannot be read spoils nothing else: it is logged once, and who reads decides what stays of
what was known. When a definition is read again is decided in rereads.py and refresh.py. Main thread.
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
    """problems: of the objects that could not be read, each logged once; kept by the connection, for as long
    as it is configured.
    """

    def __init__(self, session: Session, problems: Problems) -> None:
        self._session = session
        self._problems = problems

    async def read(self, key: Key, handle: Handle) -> Fields:
        """The record's fields that the XML and its questions answer; of unreadable XML the problem. Raises
        BridgeError.
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
        """The same for many objects, several at a time, as they come; without the questions.

        method: the row.read_xml of all of them. settle: called for each, once, with its fields or its error.
        Raises BridgeError when the host does not answer at all; what is not settled then never will be.
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
        """With the answers to what the definition leaves open; those that the host does not have, or does not
        give us, are left out: virNodeDeviceGetAutostart() is refused on a read-only connection, and the
        definition is good without. Raises BridgeError.
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
        """Returns the problem, a text: a kept log record would keep an error's traceback, and the handle in
        it.
        """
        if key not in self._problems:
            log.warning("unreadable XML conn=%s kind=%s id=%s parent=%s error=%s", *key, problem)
        self._problems[key] = problem
        return problem

    def note_unnamed(self, scope: Key, number: int) -> None:
        """How many objects of a listing have a name that cannot be read. scope: a key without id."""
        if number:
            self.note_problem(scope, f"{number} of them have a name that is not UTF-8")
        else:
            self._problems.pop(scope, None)

    def left_out(
        self, scope: Key, records: Collection[str], ids: Collection[str], lookup: Lookup
    ) -> list[str]:
        """What cannot be read of the objects that are read on demand, in the parent of this scope, of all
        kinds that it has of these. records, ids: of the scope's kind, what is known and what was listed.
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

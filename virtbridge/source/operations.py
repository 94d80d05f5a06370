"""Passes requests to libvirt: calls the method that the row of the operation names, or its function in
answers.py. What a success changes is published before operate() returns, see effects.py. Raises BridgeError.
Main thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import libvirt

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import PARENT_KIND, Key, Kind
from virtbridge.model.operations import Form, Operation, Request, operation_of
from virtbridge.source.answers import FUNCTIONS
from virtbridge.source.calls.errors import problem_of
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.table import KINDS
from virtbridge.source.refresh import Refresher


async def operate(
    session: Session, refresher: Refresher, request: Request, *, timeout_s: float | None = None
) -> Any:
    """What libvirt answers; the key of an object that it made. timeout_s: in place of the connection's."""
    row = operation_of(request)
    raw = None if request.key.kind is Kind.CONNECTION else await refresher.find(request.key)
    given = [await refresher.find(each) if isinstance(each, Key) else each for each in request.arguments]
    arguments = row.in_call_order(tuple(given))
    with _only_text(), errors_of_binding(row):
        if not row.call:
            answer = await FUNCTIONS[row.name](session, raw, *arguments)
            return made_key(row, request.key, answer) if row.makes else answer
        then = partial(_answered, row, request.key)
        if raw is None:
            return await session.call(row.call, *arguments, short=row.short, then=then, timeout_s=timeout_s)
        return await session.on(raw, row.call, *arguments, short=row.short, then=then, timeout_s=timeout_s)


def _answered(row: Operation, key: Key, raw: Any) -> Any:
    """Return the answer in the contract's units and words, in the worker that has made the call. Raises
    libvirtError.
    """
    if raw is None and row.form is not Form.NOTHING:
        # Some functions of libvirt-python return nothing where they should raise. The error is the thread's.
        raise libvirt.libvirtError(f"{row.call} failed")
    return made_key(row, key, raw) if row.makes else row.answer(raw)


def made_key(row: Operation, where: Key, raw: Any) -> Key:
    """Return the key of the object that libvirt made on this object's connection, or in this object."""
    assert row.makes is not None
    parent = where.id if PARENT_KIND.get(row.makes) is where.kind else ""
    return Key(where.connection, row.makes, KINDS[row.makes].handle_of(raw).id, parent)


@contextmanager
def _only_text() -> Iterator[None]:
    """Refuse text that is not UTF-8, which D-Bus cannot carry: others may put such bytes into
    libvirt's XML.
    """
    try:
        yield
    except UnicodeError as error:
        raise BridgeError(ErrorKind.OPERATION_FAILED, f"libvirt's answer: {problem_of(error)}") from error


@contextmanager
def errors_of_binding(row: Operation) -> Iterator[None]:
    """Raises InvalidArgument for what libvirt-python itself refuses before it calls libvirt: numbers that are
    too large for C, and parameters that libvirt does not know.
    """
    try:
        yield
    except (OverflowError, LookupError, TypeError) as error:
        if not (row.arguments or row.options):
            raise
        raise BridgeError(ErrorKind.INVALID_ARGUMENT, str(error).strip("'\"")) from None

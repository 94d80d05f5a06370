"""Passes requests to libvirt: calls the method that the row of the operation names, or its function in
answers.py. Raises BridgeError. Main thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Kind
from virtbridge.model.operations import Request, operation_of
from virtbridge.source.answers import FUNCTIONS
from virtbridge.source.calls.errors import problem_of
from virtbridge.source.calls.session import Session
from virtbridge.source.refresh import Refresher


async def operate(session: Session, refresher: Refresher, request: Request) -> Any:
    row = operation_of(request)
    raw = None if request.key.kind is Kind.CONNECTION else await refresher.find(request.key)
    with _only_text():
        if not row.call:
            return await FUNCTIONS[row.name](session, raw, *request.arguments)
        if raw is None:
            return await session.call(row.call, *request.arguments, short=row.short)
        return await session.on(raw, row.call, *request.arguments, short=row.short)


@contextmanager
def _only_text() -> Iterator[None]:
    """Refuse text that is not UTF-8, which D-Bus cannot carry: others may put such bytes into
    libvirt's XML.
    """
    try:
        yield
    except UnicodeError as error:
        raise BridgeError(ErrorKind.OPERATION_FAILED, f"libvirt's answer: {problem_of(error)}") from error

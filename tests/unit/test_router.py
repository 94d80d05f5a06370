"""The router by itself: what no bus can be made to send, or no machine to lack."""

import errno
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from virtbridge.bus.access import Access
from virtbridge.bus.binding import bind
from virtbridge.bus.contract import load_standard
from virtbridge.bus.errors import NAME_OF_KIND
from virtbridge.bus.handlers import standard
from virtbridge.bus.router import Router, routes_of
from virtbridge.bus.tree import Tree
from virtbridge.limiter import Portions
from virtbridge.metrics import Metrics
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.framing import LITTLE, METHOD_CALL, Incoming

PEER = "org.freedesktop.DBus.Peer"


class Link:
    """Keeps the errors that would be sent."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []
        self.on_room: Any = None

    def has_room(self, _user: int, _client: str) -> bool:
        return True

    def error(self, _call: Incoming, name: str, text: str) -> None:
        self.errors.append((name, text))


def errors_of_get_machine_id() -> list[tuple[str, str]]:
    link, clients = Link(), SimpleNamespace(vanished=[])
    anything: Any = (link, SimpleNamespace(by_path={}, tree=Tree()), {}.get, clients)
    access: Any = Access(None)
    everywhere = routes_of([bind(load_standard()[PEER], standard.PeerHandlers())])
    router = Router(
        *anything,
        access,
        Metrics(),
        objects={},
        node=everywhere,
        nowhere={},
        error_names=NAME_OF_KIND,
        running=Portions().of(1),
        authorizing=Portions().of(1),
        waiting=BacklogLimits(),
        large=BacklogLimits(),
    )
    call = Incoming(METHOD_CALL, 0, 7, "/", PEER, "GetMachineId", ":1.1", "", "", "", 0, b"", LITTLE)
    router.handle(call)
    return link.errors


def test_a_machine_without_an_id_is_no_mistake_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(standard, "_MACHINE_ID_FILES", ("/nonexistent",))
    with caplog.at_level(logging.DEBUG):
        errors = errors_of_get_machine_id()
    assert errors == [("org.freedesktop.DBus.Error.Failed", "this machine has no machine id")]
    assert caplog.records == []


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, ""), MemoryError(), RuntimeError("can't start new thread")], ids=repr
)
def test_what_the_system_does_not_give_is_no_internal_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_text(*_: Any) -> str:
        raise error

    monkeypatch.setattr(standard.Path, "read_text", read_text)
    [(name, text)] = errors_of_get_machine_id()
    assert name == "org.virtbridge1.Error.LimitExceeded"
    assert "no free" in text or "no room" in text
    assert [record.exc_info for record in caplog.records] == [None]

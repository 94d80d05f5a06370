"""Log lines as a terminal and as the journal get them, through a real file."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtbridge.logs import LEVELS, report_failure, set_up_logging

log = logging.getLogger("virtbridge.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("virtbridge")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def _logged(tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch, *, journal: bool) -> list[str]:
    with (tmp_path / "log").open("w+") as stream:
        status = os.fstat(stream.fileno())
        stream_id = f"{status.st_dev}:{status.st_ino}" if journal else "1:1"
        monkeypatch.setitem(os.environ, "JOURNAL_STREAM", stream_id)
        set_up_logging(level, stream)
        log.debug("event name=%s", "reboot")
        log.info("connection ready conn=%s", "lab")
        log.warning("connection lost conn=%s", "lab\nvirtbridge: forged \x1b[31m")
        try:
            raise ValueError("too odd")
        except ValueError:
            log.exception("handler failed member=%s", "Get")
        stream.flush()
    return (tmp_path / "log").read_text().splitlines()


def test_the_journal_gets_priorities_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _logged(tmp_path, "info", monkeypatch, journal=True) == [
        "<6>virtbridge.test: connection ready conn=lab",
        r"<4>virtbridge.test: connection lost conn=lab\nvirtbridge: forged \x1b[31m",
        "<3>virtbridge.test: handler failed member=Get error=ValueError: too odd",
    ]


def test_a_terminal_gets_time_and_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _logged(tmp_path, "warning", monkeypatch, journal=False)
    assert [line.split(" ", 2)[2] for line in lines] == [
        r"WARNING virtbridge.test: connection lost conn=lab\nvirtbridge: forged \x1b[31m",
        "ERROR   virtbridge.test: handler failed member=Get error=ValueError: too odd",
    ]


def test_debug_shows_events_and_tracebacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _logged(tmp_path, "debug", monkeypatch, journal=True)
    assert lines[0] == "<7>virtbridge.test: event name=reboot"
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "ValueError: too odd"


def test_every_level_can_be_set() -> None:
    for name, number in LEVELS.items():
        set_up_logging(name)
        assert logging.getLogger("virtbridge").level == number


@pytest.mark.parametrize(("journal", "start"), [(True, "<3>"), (False, "")])
def test_mistakes_are_errors_in_the_journal_and_bare_lines_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: bool, start: str
) -> None:
    with (tmp_path / "log").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setitem(
            os.environ, "JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}" if journal else "1:1"
        )
        report_failure(ValueError("a:1: wrong\na:2: wrong"), stream)
    assert (tmp_path / "log").read_text() == f"{start}a:1: wrong\n{start}a:2: wrong\n"

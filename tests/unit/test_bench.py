"""A case that fails costs the benchmark that case alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tests.bench.__main__ as bench
from tests.bench.cases.common import FAST, PEER, Scale
from tests.bench.table import Row


@contextmanager
def no_stage() -> Iterator[None]:
    yield


def good(_stage: object, _scale: Scale) -> list[Row]:
    return [Row("a good row", "ms", {PEER: [2.0], FAST: [1.0]})]


def bad(_stage: object, _scale: Scale) -> list[Row]:
    raise TimeoutError("nothing for 20 s")


@pytest.mark.parametrize(("names", "status"), [(["good", "bad", "good"], 1), (["good"], 0)])
def test_the_others_are_in_the_table(
    names: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CASES", {"good": good, "bad": bad})
    monkeypatch.setattr(bench, "staged", no_stage)
    monkeypatch.setattr(bench, "missing", str)
    monkeypatch.setattr(bench, "answer_keepalives", lambda: None)
    monkeypatch.setattr(sys, "argv", ["bench", *names])
    assert bench.main() == status
    out = capsys.readouterr().out
    assert out.count("a good row") == names.count("good")
    assert ("Failed:\n- bad: TimeoutError: nothing for 20 s" in out) == ("bad" in names)

"""Lifecycle signals made from two readings, compared with the table that reads them the other way."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from virtbridge.model.records import DomainRecord, NetworkRecord
from virtbridge.source.kinds.derived_events import derived_events, xml_may_differ
from virtbridge.source.kinds.domain_lifecycle import domain_outcome
from virtbridge.source.kinds.enums import DOMAIN_EVENT, DOMAIN_EVENT_DETAIL, STATE_REASON
from virtbridge.source.kinds.network import EFFECTS as NETWORK_EFFECTS
from virtbridge.source.kinds.outcomes import defined_outcome

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
OFF = DomainRecord(UUID, "d", state="shutoff", state_reason="shutdown", persistent=True)
ON = replace(OFF, id=3, state="running", state_reason="booted")
PAUSED = replace(ON, state="paused", state_reason="user")


def state(known: DomainRecord, word: str, reason: str) -> DomainRecord:
    return replace(known, state=word, state_reason=reason)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (ON, ON, []),
        (OFF, state(OFF, "shutoff", "destroyed"), []),
        (ON, state(ON, "running", "unpaused"), []),
        (ON, state(ON, "blocked", "unknown"), []),
        (ON, PAUSED, [("suspended", "paused")]),
        (ON, state(ON, "paused", "ioerror"), [("suspended", "ioerror")]),
        (ON, state(ON, "paused", "dump"), [("suspended", "unknown")]),
        (PAUSED, state(ON, "running", "unpaused"), [("resumed", "unpaused")]),
        (PAUSED, state(ON, "running", "99"), [("resumed", "unknown")]),
        (ON, state(OFF, "shutoff", "destroyed"), [("stopped", "destroyed")]),
        (ON, state(OFF, "shutoff", "daemon"), [("stopped", "unknown")]),
        (OFF, ON, [("started", "booted")]),
        (OFF, PAUSED, [("started", "unknown"), ("suspended", "paused")]),
        (OFF, state(ON, "running", "unpaused"), [("started", "unknown")]),
        (ON, replace(ON, id=4), [("stopped", "unknown"), ("started", "booted")]),
        (ON, state(ON, "crashed", "panicked"), [("crashed", "panicked")]),
        (ON, state(ON, "shutdown", "unknown"), [("shutdown", "unknown")]),
        (ON, state(ON, "pmsuspended", "unknown"), [("pmsuspended", "unknown")]),
        (state(ON, "pmsuspended", "unknown"), state(ON, "running", "wakeup"), [("started", "wakeup")]),
        (OFF, replace(OFF, name="e"), [("undefined", "renamed"), ("defined", "renamed")]),
        (
            replace(ON, persistent=False),
            replace(ON, persistent=False, name="e", id=4),
            [("stopped", "unknown"), ("started", "booted")],
        ),
        (replace(ON, persistent=False), ON, [("defined", "added")]),
        (ON, replace(ON, persistent=False), [("undefined", "removed")]),
        (None, OFF, [("defined", "added")]),
        (None, ON, [("defined", "added"), ("started", "booted")]),
        (None, replace(ON, persistent=False), [("started", "booted")]),
        (OFF, None, [("undefined", "removed")]),
        (ON, None, [("stopped", "unknown"), ("undefined", "removed")]),
        (replace(ON, persistent=False), None, [("stopped", "unknown")]),
    ],
)
def test_domains(old: Any, new: Any, expected: list[tuple[str, str]]) -> None:
    assert derived_events(old, new) == expected


states = st.sampled_from(
    [(word, reason) for word in STATE_REASON for reason in [*STATE_REASON[word].values(), "99"]]
)


@st.composite
def domains(draw: st.DrawFn) -> DomainRecord:
    word, reason = draw(states)
    number = -1 if word == "shutoff" else draw(st.integers(0, 2))
    persistent = draw(st.booleans()) or number < 0
    return DomainRecord(
        UUID, draw(st.sampled_from("de")), id=number, state=word, state_reason=reason, persistent=persistent
    )


@given(domains(), domains())
def test_the_events_lead_from_the_one_reading_to_the_other(old: DomainRecord, new: DomainRecord) -> None:
    """What a client that believed the signals alone would come to; what they do not tell stays aside."""
    assume(old.name == new.name or (old.persistent and new.persistent))
    known, told = old, derived_events(old, new)
    for event, detail in told:
        assert event in DOMAIN_EVENT.values()
        assert detail in {*DOMAIN_EVENT_DETAIL[event].values(), "unknown"}
        known = replace(known, **domain_outcome(known, event, detail, new.name, new.id).fields)
    assert (known.name, known.persistent, known.active) == (new.name, new.persistent, new.active)
    if {old.state, new.state} & {"running", "paused", "shutoff"} == {old.state, new.state}:
        assert known.state == new.state
    assert bool(told) <= (old != new)


def test_networks() -> None:
    off = NetworkRecord(UUID, "n", persistent=True)
    on = replace(off, active=True)
    assert derived_events(None, on) == [("defined", "0"), ("started", "0")]
    assert derived_events(off, on) == [("started", "0")]
    assert derived_events(on, off) == [("stopped", "0")]
    assert derived_events(on, replace(on, persistent=False)) == [("undefined", "0")]
    assert derived_events(on, None) == [("stopped", "0"), ("undefined", "0")]
    assert derived_events(replace(on, persistent=False), None) == [("stopped", "0")]
    assert derived_events(off, replace(off, name="m", autostart=True)) == []
    assert defined_outcome(NETWORK_EFFECTS, on, "stopped", "n").fields["active"] is False


def test_a_pause_calls_for_no_xml_and_everything_else_does() -> None:
    assert not xml_may_differ(ON, PAUSED)
    assert not xml_may_differ(PAUSED, state(ON, "running", "unpaused"))
    for other in (OFF, replace(ON, id=4), replace(ON, name="e"), replace(ON, autostart=True), None):
        assert xml_may_differ(ON, other)
    assert xml_may_differ(OFF, state(OFF, "shutoff", "destroyed"))

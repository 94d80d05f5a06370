"""The lifecycle table: every event and detail that libvirt names, and sequences as QEMU was seen to send
them.
"""

from dataclasses import replace

import pytest

from virtbridge.model.records import DomainRecord, NetworkRecord, NodeDeviceRecord, PoolRecord, SecretRecord
from virtbridge.source.kinds.derived_events import derived_events
from virtbridge.source.kinds.domain_lifecycle import domain_effect, domain_outcome
from virtbridge.source.kinds.enums import DOMAIN_EVENT, DOMAIN_EVENT_DETAIL, DOMAIN_STATE, STATE_REASON
from virtbridge.source.kinds.network import EFFECTS as NETWORK_EFFECTS
from virtbridge.source.kinds.nodedev import EFFECTS as NODE_DEVICE_EFFECTS
from virtbridge.source.kinds.outcomes import defined_outcome
from virtbridge.source.kinds.pool import EFFECTS as POOL_EFFECTS
from virtbridge.source.kinds.secret import secret_outcome

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
OFF = DomainRecord(UUID, "d", state="shutoff", state_reason="unknown", persistent=True)


def follow(record: DomainRecord, *events: tuple[str, str, int]) -> DomainRecord | None:
    for event, detail, number in events:
        outcome = domain_outcome(record, event, detail, "d", number)
        if outcome.removed:
            return None
        record = replace(record, **outcome.fields)
    return record


@pytest.mark.parametrize(
    ("event", "detail"),
    [(event, detail) for event in DOMAIN_EVENT.values() for detail in DOMAIN_EVENT_DETAIL[event].values()],
)
def test_every_effect_is_a_state_and_a_reason_of_libvirt(event: str, detail: str) -> None:
    effect = domain_effect(event, detail)
    if effect.state:
        assert effect.state in DOMAIN_STATE.values()
        for reason in (
            effect.reason,
            effect.reason_if_same or effect.reason,
            effect.reason_if_active or effect.reason,
        ):
            assert reason in STATE_REASON[effect.state].values()


def test_a_newer_detail_still_tells_the_state() -> None:
    assert domain_effect("started", "99").state == "running"
    assert domain_effect("stopped", "99").state == "shutoff"
    assert domain_effect("99", "0").rereads


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([("resumed", "unpaused", 1), ("started", "booted", 1)], ("running", "booted")),
        ([("started", "booted", 1), ("suspended", "paused", 1)], ("paused", "user")),
        ([("started", "restored", 1), ("resumed", "from-snapshot", 1)], ("running", "restored")),
        ([("started", "restored", 1), ("suspended", "restored", 1)], ("paused", "migration")),
        ([("started", "from-snapshot", 1), ("resumed", "from-snapshot", 1)], ("running", "from-snapshot")),
        ([("resumed", "unpaused", 1), ("started", "from-snapshot", 1)], ("running", "booted")),
        ([("resumed", "unpaused", 1), ("stopped", "failed", 1)], ("shutoff", "crashed")),
        ([("resumed", "unpaused", 1), ("stopped", "failed", -1)], ("shutoff", "failed")),
        ([("shutdown", "host", 1), ("stopped", "destroyed", -1)], ("shutoff", "destroyed")),
        ([("shutdown", "guest", 1), ("stopped", "shutdown", 1)], ("shutoff", "shutdown")),
    ],
)
def test_sequences_as_qemu_sends_them(events: list[tuple[str, str, int]], state: tuple[str, str]) -> None:
    record = follow(OFF, *events)
    assert record is not None
    assert (record.state, record.state_reason) == state
    assert record.active == (state[0] != "shutoff")


def test_a_start_that_is_cut_short_leaves_the_domain_off() -> None:
    """QEMU ended before libvirt has it says `shutdown`; of the failed start libvirt says nothing."""
    assert follow(OFF, ("shutdown", "host", 2)) == OFF
    assert not domain_outcome(OFF, "shutdown", "host", "d", 2).rereads


def test_a_restored_domain_is_read_again_when_it_is_all_there() -> None:
    restored = follow(OFF, ("started", "restored", 1))
    assert restored is not None
    assert domain_outcome(restored, "resumed", "from-snapshot", "d", 1).rereads
    assert domain_outcome(restored, "suspended", "paused", "d", 1).rereads
    booted = follow(OFF, ("started", "booted", 1))
    assert booted is not None
    assert not domain_outcome(booted, "suspended", "paused", "d", 1).rereads


def test_undefining_an_active_domain_leaves_it_transient_until_it_stops() -> None:
    record = follow(OFF, ("started", "booted", 1), ("undefined", "removed", 1))
    assert record is not None
    assert not record.persistent
    assert follow(record, ("stopped", "destroyed", -1)) is None
    assert follow(OFF, ("undefined", "removed", -1)) is None


def test_autostart_is_asked_for_where_an_undefined_object_runs_on_and_had_it() -> None:
    on = replace(OFF, id=1, state="running", autostart=True)
    assert domain_outcome(on, "undefined", "removed", "d", 1).getters == {"autostart"}
    assert not domain_outcome(replace(on, autostart=False), "undefined", "removed", "d", 1).getters
    assert not domain_outcome(on, "undefined", "removed", "d", -1).getters
    network = NetworkRecord(UUID, "n", active=True, persistent=True, autostart=True)
    assert defined_outcome(NETWORK_EFFECTS, network, "undefined", "n").getters == {"autostart"}
    assert not defined_outcome(NETWORK_EFFECTS, network, "stopped", "n").getters
    assert not defined_outcome(NETWORK_EFFECTS, replace(network, active=False), "undefined", "n").getters


def test_a_rename_changes_the_name_alone() -> None:
    assert follow(OFF, ("undefined", "renamed", -1)) == OFF
    outcome = domain_outcome(OFF, "defined", "renamed", "new", -1)
    assert outcome.fields["name"] == "new"


def test_few_events_ask_for_what_they_do_not_tell() -> None:
    asking = {
        (event, detail): set(effect.getters)
        for event in DOMAIN_EVENT.values()
        for detail in DOMAIN_EVENT_DETAIL[event].values()
        if (effect := domain_effect(event, detail)).getters
    }
    assert asking == {
        ("stopped", "saved"): {"hasManagedSaveImage"},
        ("suspended", "from-snapshot"): {"state"},
        ("resumed", "migrated"): {"state"},
    }


def test_the_state_is_asked_for_when_a_crashed_domain_runs_again() -> None:
    crashed = replace(OFF, id=1, state="crashed", state_reason="panicked")
    assert domain_outcome(crashed, "resumed", "unpaused", "d", 1).getters == {"state"}
    reset = replace(crashed, state="paused", state_reason="crashed")
    assert domain_outcome(reset, "resumed", "unpaused", "d", 1).getters == {"state"}
    off = replace(OFF, state_reason="crashed")  # a start, whose `resumed` comes first
    assert not domain_outcome(off, "resumed", "unpaused", "d", 2).getters


def test_a_network_is_there_while_active_or_persistent() -> None:
    known = NetworkRecord(UUID, "n", active=True, persistent=True)
    outcome = defined_outcome(NETWORK_EFFECTS, known, "undefined", "n")
    assert outcome.fields["persistent"] is False
    assert not outcome.removed
    assert defined_outcome(NETWORK_EFFECTS, NetworkRecord(UUID, "n", active=True), "stopped", "n").removed
    assert not defined_outcome(NETWORK_EFFECTS, known, "stopped", "n").removed


def test_a_pool_whose_target_is_built_or_deleted_stays_as_it_is() -> None:
    known = PoolRecord(UUID, "p", persistent=True)
    for event in ("created", "deleted", "yet-to-come"):
        outcome = defined_outcome(POOL_EFFECTS, known, event, "p")
        assert (outcome.fields, outcome.removed, outcome.rereads) == ({"name": "p"}, False, True)


def test_a_device_is_gone_when_deleted_unless_it_is_defined() -> None:
    def after(known: NodeDeviceRecord, event: str) -> NodeDeviceRecord | None:
        outcome = defined_outcome(NODE_DEVICE_EFFECTS, known, event, known.name)
        return None if outcome.removed else replace(known, **outcome.fields)

    plain = NodeDeviceRecord("usb_1_2")
    assert after(plain, "deleted") is None
    mediated = after(NodeDeviceRecord("mdev_x", inactive=True), "defined")
    assert mediated is not None
    assert (mediated.active, mediated.persistent) == (False, True)
    made = after(mediated, "created")
    assert made is not None
    assert made.active
    assert after(made, "deleted") == mediated
    assert after(mediated, "undefined") is None
    assert after(made, "undefined") == replace(made, persistent=False)


def test_a_secret_is_there_while_it_is_defined() -> None:
    assert secret_outcome("undefined", "n").removed
    outcome = secret_outcome("defined", "n")
    assert (outcome.fields, outcome.removed, outcome.rereads) == ({"name": "n"}, False, True)


def test_without_events_devices_and_secrets_are_told_in_their_own_words() -> None:
    device, secret = NodeDeviceRecord("usb_1_2"), SecretRecord(UUID, "n")
    assert derived_events(None, device) == [("created", "0")]
    assert derived_events(device, None) == [("deleted", "0")]
    assert derived_events(None, secret) == [("defined", "0")]
    assert derived_events(secret, None) == [("undefined", "0")]

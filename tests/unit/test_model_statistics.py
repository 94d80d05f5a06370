"""Statistics under the contract's names, and rates: never negative, never of two different guests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.model.statistics import GROUPS, HISTORY, USUAL_GROUPS, Track, flatten, group_flags, rated

S = 1_000_000_000
RAW = {
    "cpu.time": 7, "cpu.user": 4, "cpu.system": 3, "cpu.haltpoll.success.time": 1,
    "balloon.current": 2, "balloon.available": 10, "balloon.unused": 4, "balloon.last-update": 5,
    "vcpu.current": 2, "vcpu.maximum": 4,
    "vcpu.0.state": 1, "vcpu.0.time": 5, "vcpu.3.state": 77, "vcpu.3.wait": 6,
    "net.count": 1, "net.0.name": "vnet0", "net.0.rx.bytes": 1, "net.0.tx.pkts": 2, "net.0.rx.drop": 3,
    "block.count": 1, "block.0.name": "vda", "block.0.rd.reqs": 1, "block.0.fl.times": 2,
    "block.0.backingIndex": 1, "block.0.newer.thing": 9,
    "dirtyrate.calc_mode": "page-sampling",
}  # fmt: skip


def test_libvirt_s_dictionary_under_our_names() -> None:
    assert flatten(RAW) == {
        "cpu-time-ns": 7, "cpu-user-ns": 4, "cpu-system-ns": 3,
        "memory-current": 2048, "memory-available": 10240, "memory-unused": 4096, "memory-used": 6144,
        "memory-last-update": 5_000_000,
        "vcpus-current": 2, "vcpus-maximum": 4,
        "vcpus": [
            {"number": 0, "state": "running", "time-ns": 5}, {"number": 3, "state": "77", "wait-ns": 6},
        ],
        "interfaces": [{"name": "vnet0", "rx-bytes": 1, "tx-packets": 2, "rx-dropped": 3}],
        "disks": [
            {"name": "vda", "read-requests": 1, "flush-time-ns": 2, "backing-index": 1, "newer.thing": 9},
        ],
        "other": {"cpu.haltpoll.success.time": 1, "dirtyrate.calc_mode": "page-sampling"},
    }  # fmt: skip


@given(st.dictionaries(st.text(), st.one_of(st.integers(0, 2**64 - 1), st.booleans(), st.text())))
def test_any_dictionary_is_read(raw: dict[str, Any]) -> None:
    flatten({key: value for key, value in raw.items() if not key.startswith(("balloon.", "cpu.", "vcpu."))})


def test_nothing_of_an_unknown_key_is_lost() -> None:
    odd = {"block.x.name": 1, "block.": 2, "": 3, "net.0": 4, "vm.new": 5, "block.².name": 6}
    assert flatten(odd) == {"other": {key: value for key, value in odd.items() if key}}


def sample(at_s: float, run: int = 1, before: Track | None = None, **counters: int) -> tuple[Any, Track]:
    raw = {
        "cpu.time": counters.get("cpu", 0),
        "vcpu.current": 2,
        "vcpu.0.time": counters.get("vcpu", 0),
        "block.count": 1,
        "block.0.name": "vda",
        "block.0.rd.bytes": counters.get("read", 0),
        "block.0.rd.reqs": counters.get("reads", 0),
        "net.count": 0,
    }
    return rated(flatten(raw), before, run=run, at_ns=int(at_s * S), host_cpus=8)


def test_rates_over_the_time_between() -> None:
    first, track = sample(100)
    assert not [key for key in first if "per" in key]
    assert first["disks"] == [{"name": "vda", "read-bytes": 0, "read-requests": 0}]
    second, track = sample(102, before=track, cpu=2 * S, vcpu=S, read=4096, reads=10)
    assert second["cpu-host-percent"] == 12.5
    assert second["cpu-guest-percent"] == 50.0
    assert second["vcpus"][0]["percent"] == 50.0
    assert second["disks"][0]["read-bytes-per-second"] == 2048.0
    assert second["disk-read-requests-per-second"] == 5.0
    assert second["net-rx-bytes-per-second"] == 0.0
    third, _ = sample(112, before=track, cpu=2 * S, vcpu=S, read=4096, reads=10)
    assert third["cpu-guest-percent"] == third["disks"][0]["read-bytes-per-second"] == 0.0


def test_a_guest_started_anew_is_not_compared_with_its_last_life() -> None:
    _, track = sample(1, cpu=S)
    restarted, track = sample(2, run=2, before=track, cpu=5 * S, read=100)
    assert not [key for key in restarted if "per" in key]
    again, _ = sample(3, run=2, before=track, cpu=6 * S, read=300)
    assert again["disk-read-bytes-per-second"] == 200.0


def test_one_counter_that_began_anew_takes_its_own_rates_only() -> None:
    _, track = sample(1, cpu=S, read=1000, reads=10)
    reset, track = sample(2, before=track, cpu=2 * S, read=5, reads=11)
    assert reset["cpu-guest-percent"] == 50.0
    assert "disk-read-bytes-per-second" not in reset
    assert "read-requests-per-second" not in reset["disks"][0]
    after, _ = sample(3, before=track, cpu=2 * S, read=7, reads=11)
    assert after["disk-read-bytes-per-second"] == 2.0


def test_two_samples_close_together_share_their_rates_and_an_older_one_changes_nothing() -> None:
    _, track = sample(1)
    second, track = sample(2, before=track, read=1000)
    close, track = sample(2.01, before=track, read=1500)
    assert close["disk-read-bytes-per-second"] == second["disk-read-bytes-per-second"] == 1000.0
    _, track = sample(1.5, before=track, read=500)
    third, _ = sample(4, before=track, read=3000)
    assert third["disk-read-bytes-per-second"] == 1000.0


def test_what_was_not_told_once_is_compared_with_what_was_told_last() -> None:
    _, track = sample(1, read=100)
    silent = flatten({"block.count": 1, "block.0.name": "vda"})
    values, track = rated(silent, track, run=1, at_ns=2 * S, host_cpus=8)
    assert "disk-read-bytes-per-second" not in values
    after, _ = sample(3, before=track, read=300)
    assert after["disk-read-bytes-per-second"] == 100.0


def test_a_device_that_left_is_forgotten() -> None:
    _, track = sample(1, read=100)
    _, track = rated(flatten({"block.count": 0}), track, run=1, at_ns=2 * S, host_cpus=8)
    assert ("disks", "vda") not in track.series
    assert ("cpu", "") in track.series


def test_rates_are_added_without_a_copy() -> None:
    """Every domain has this done to it with every sample."""
    _, track = sample(1)
    values = flatten(
        {"cpu.time": S, "vcpu.current": 1, "vcpu.0.time": S, "block.count": 1, "block.0.rd.bytes": 7}
    )
    devices = [*values["vcpus"], *values["disks"]]
    rated_values, _ = rated(values, track, run=1, at_ns=2 * S, host_cpus=8)
    assert rated_values is values
    assert all(a is b for a, b in zip(devices, [*values["vcpus"], *values["disks"]], strict=True))
    assert values["vcpus"][0]["percent"] == 100.0


counters = st.fixed_dictionaries({name: st.integers(0, 2**63) for name in ("cpu", "vcpu", "read", "reads")})


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 3), counters), max_size=12))
def test_no_rate_is_ever_negative_whatever_clocks_and_counters_do(
    steps: list[tuple[float, int, dict[str, int]]],
) -> None:
    track = None
    for at_s, run, values in steps:
        shown, track = sample(at_s, run, track, **values)
        rates = {**shown, **shown["disks"][0], **shown["vcpus"][0]}
        for key, value in rates.items():
            if key.endswith("-per-second"):
                assert value >= 0.0
            elif key.endswith("percent"):
                assert 0.0 <= value <= 100.0


@given(st.integers(1, 2**40), st.integers(1, 3600), st.integers(0, 2**40))
def test_a_rate_times_its_time_is_the_difference(start: int, span_s: int, more: int) -> None:
    _, track = sample(10, read=start)
    values, _ = sample(10 + span_s, before=track, read=start + more)
    assert values["disk-read-bytes-per-second"] * span_s == pytest.approx(more)


def test_groups_are_libvirt_s_bits() -> None:
    libvirt = pytest.importorskip("libvirt")
    for group, bit in GROUPS.items():
        name = f"VIR_DOMAIN_STATS_{group.upper().replace('-', '_')}"
        assert getattr(libvirt, name, bit) == bit
    assert group_flags(USUAL_GROUPS) == 63
    assert len(set(HISTORY)) == len(HISTORY)

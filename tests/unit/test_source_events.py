"""The event table: every id of the installed libvirt, made-up values for each, and ids yet to come."""

from typing import Any

import pytest

from virtbridge.source.kinds import network, nodedev, pool, secret
from virtbridge.source.kinds.domain_events import domain_events
from virtbridge.source.kinds.enums import CONSTANTS
from virtbridge.source.kinds.events import EventSpec, event_specs

# What libvirt-python hands to a callback, and what is published. By the contract's name.
SAMPLES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "reboot": ((), {}),
    "rtc-change": ((3600,), {"utcoffset": 3600}),
    "watchdog": ((2,), {"action": "reset"}),
    "io-error": (
        ("/a", "virtio-disk0", 1, "enospc"),
        {"src-path": "/a", "dev-alias": "virtio-disk0", "action": "pause", "reason": "enospc"},
    ),
    "graphics": (
        (
            0,
            {"family": 0, "node": "::", "service": "5900"},
            {"family": 9, "node": "peer", "service": None},
            "none",
            [("x509dname", "CN=me")],
        ),
        {
            "phase": "connect",
            "local": {"family": "ipv4", "node": "::", "service": "5900"},
            "remote": {"family": "9", "node": "peer", "service": ""},
            "auth-scheme": "none",
            "subject": ["x509dname=CN=me"],
        },
    ),
    "control-error": ((), {}),
    "block-job": (("vda", 4, 3), {"disk": "vda", "type": "active-commit", "status": "ready"}),
    "disk-change": (
        (None, "/new", "ide0-1-0", 0),
        {
            "old-src-path": "",
            "new-src-path": "/new",
            "dev-alias": "ide0-1-0",
            "reason": "change-missing-on-start",
        },
    ),
    "tray-change": (("ide0-1-0", 1), {"dev-alias": "ide0-1-0", "reason": "close"}),
    "pm-wakeup": ((0,), {"reason": 0}),
    "pm-suspend": ((0,), {"reason": 0}),
    "pm-suspend-disk": ((0,), {"reason": 0}),
    "balloon-change": ((1024,), {"actual": 1024}),
    "device-removed": (("net0",), {"dev-alias": "net0"}),
    "device-added": (("net0",), {"dev-alias": "net0"}),
    "device-removal-failed": (("net0",), {"dev-alias": "net0"}),
    "tunable": (({"cputune.vcpupin0": "0-1", "x": 2.5},), {"cputune.vcpupin0": "0-1", "x": 2.5}),
    "agent-lifecycle": ((1, 2), {"state": "connected", "reason": "channel"}),
    "migration-iteration": ((3,), {"iteration": 3}),
    "job-completed": (
        ({"operation": 2, "time_elapsed": 40, "success": True},),
        {"operation": "save", "time_elapsed": 40, "success": True},
    ),
    "metadata-change": ((1, None), {"type": "title", "nsuri": ""}),
    "block-threshold": (
        ("vda", "/a", 5, 1),
        {"dev": "vda", "path": "/a", "threshold": 5, "excess": 1},
    ),
    "memory-failure": (
        (1, 2, 1 | 8),
        {"recipient": "guest", "action": "fatal", "flags": ["action-required", "8"]},
    ),
    "memory-device-size-change": (("virtiomem0", 9), {"alias": "virtiomem0", "size": 9}),
    "nic-mac-change": (("net0", "a", "b"), {"alias": "net0", "old-mac": "a", "new-mac": "b"}),
    "vcpu-removed": ((3,), {"vcpuid": 3}),
    "channel-lifecycle": (
        ("org.x", 1, 2),
        {"channel-name": "org.x", "state": "connected", "reason": "channel"},
    ),
}

SPECS = domain_events()


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_every_event_of_the_installed_libvirt_is_decoded(spec: EventSpec) -> None:
    if spec.row.params is None:
        pytest.skip("newer than the table")
    args, details = SAMPLES[spec.name]
    decoded = spec.decode(args)
    assert not details or decoded == details
    assert not any(key.startswith("arg") for key in decoded)


def test_no_event_id_is_missing_and_none_is_told_twice() -> None:
    prefix = "VIR_DOMAIN_EVENT_ID_"
    ids = {
        value for name, value in CONSTANTS.items() if name.startswith(prefix) and not name.endswith("_LAST")
    }
    registered = {spec.id for spec in SPECS}
    fallbacks = {spec.fallback.id for spec in SPECS if spec.fallback}
    assert registered | fallbacks == ids - {CONSTANTS[f"{prefix}LIFECYCLE"]}
    assert not registered & fallbacks
    assert len({spec.name for spec in SPECS}) == len(SPECS)


def test_an_event_yet_to_come_is_registered_and_told_by_position() -> None:
    constants = {"VIR_DOMAIN_EVENT_ID_LIFECYCLE": 0, "VIR_DOMAIN_EVENT_ID_NEW_THING": 77}
    (spec,) = domain_events(constants)
    assert (spec.id, spec.name) == (77, "new-thing")
    assert spec.row.rereads
    assert spec.decode((1, "x", None, [1, ("a", 2)])) == {
        "arg0": 1,
        "arg1": "x",
        "arg2": "",
        "arg3": ["1", "['a', '2']"],
    }


def test_events_that_are_newer_than_the_installed_libvirt_have_their_names_and_numbers() -> None:
    """libvirt 12.4: virConnectDomainEventChannelLifecycleCallback(conn, dom, channelName, state, reason)."""
    constants = {"VIR_DOMAIN_EVENT_ID_CHANNEL_LIFECYCLE": 27, "VIR_DOMAIN_EVENT_ID_VCPU_REMOVED": 28}
    channel, vcpu = domain_events(constants)
    details = channel.decode(("org.x", 77, 78))
    assert details == {"channel-name": "org.x", "state": "77", "reason": "78"}
    assert vcpu.decode((3,)) == {"vcpuid": 3}


def test_the_plain_event_stands_in_where_the_richer_one_is_not_known() -> None:
    specs = domain_events({"VIR_DOMAIN_EVENT_ID_BLOCK_JOB": 8, "VIR_DOMAIN_EVENT_ID_IO_ERROR": 4})
    assert [(spec.id, spec.name) for spec in specs] == [(4, "io-error"), (8, "block-job")]


def test_values_of_another_shape_are_not_lost() -> None:
    spec = next(spec for spec in SPECS if spec.name == "balloon-change")
    assert spec.decode((1, 2)) == {"arg0": 1, "arg1": 2}


def test_network_metadata_is_an_event_where_libvirt_has_it() -> None:
    (spec,) = event_specs(network.EVENT_IDS, network.EVENT_ROWS, {"VIR_NETWORK_EVENT_ID_METADATA_CHANGE": 1})
    assert spec.decode((2, "urn:x")) == {"type": "element", "nsuri": "urn:x"}


@pytest.mark.parametrize(
    ("events", "name", "rereads"),
    [
        (pool.EVENTS, "refresh", True),
        (nodedev.EVENTS, "update", True),
        (secret.EVENTS, "value-changed", False),
    ],
)
def test_the_other_kinds_have_one_event_each(events: tuple[EventSpec, ...], name: str, rereads: bool) -> None:
    spec = next(spec for spec in events if spec.name == name)
    assert spec.decode(()) == {}
    assert spec.row.rereads == rereads

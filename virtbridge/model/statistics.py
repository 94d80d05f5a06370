"""Domain statistics: libvirt's flat dictionary under the contract's names, and rates from two samples.

Values are plain: int, float, str, bool, and a list of dictionaries for devices; keys are the contract's. All
times come in as arguments. Pure.
Source: virConnectGetAllDomainStats(), https://libvirt.org/html/libvirt-libvirt-domain.html
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

# libvirt's VIR_DOMAIN_STATS_*: the contract's word and the bit, the same number in every libvirt.
GROUPS: Mapping[str, int] = {
    "state": 1,
    "cpu-total": 2,
    "balloon": 4,
    "vcpu": 8,
    "interface": 16,
    "block": 32,
    "perf": 64,
    "iothread": 128,
    "memory": 256,
    "dirtyrate": 512,
    "vm": 1024,
}
USUAL_GROUPS = frozenset({"state", "cpu-total", "balloon", "vcpu", "interface", "block"})

Values = dict[str, Any]

_KIB = 1024
_MIN_SPAN_NS = 100_000_000  # below it a rate says more of the clock's grain than of the guest

# libvirt's key -> ours, and the factor to our unit
_PLAIN: Mapping[str, tuple[str, int]] = {
    "cpu.time": ("cpu-time-ns", 1),
    "cpu.user": ("cpu-user-ns", 1),
    "cpu.system": ("cpu-system-ns", 1),
    "balloon.current": ("memory-current", _KIB),
    "balloon.maximum": ("memory-maximum", _KIB),
    "balloon.rss": ("memory-rss", _KIB),
    "balloon.available": ("memory-available", _KIB),
    "balloon.unused": ("memory-unused", _KIB),
    "balloon.usable": ("memory-usable", _KIB),
    "balloon.disk_caches": ("memory-disk-caches", _KIB),
    "balloon.swap_in": ("memory-swap-in", _KIB),
    "balloon.swap_out": ("memory-swap-out", _KIB),
    "balloon.major_fault": ("memory-major-faults", 1),
    "balloon.minor_fault": ("memory-minor-faults", 1),
    "balloon.last-update": ("memory-last-update", 1_000_000),
    "vcpu.current": ("vcpus-current", 1),
    "vcpu.maximum": ("vcpus-maximum", 1),
}
# Shown in another way: as the length of a list, or in words that the caller finds.
_SHOWN_ELSEWHERE = frozenset({"block.count", "net.count", "state.state", "state.reason"})

# The list that libvirt's `<prefix>.<number>.<name>` goes to, and our names for libvirt's. What is not
# named here keeps libvirt's name.
_DEVICES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "vcpu": ("vcpus", {"state": "state", "time": "time-ns", "wait": "wait-ns", "delay": "delay-ns"}),
    "net": (
        "interfaces",
        {
            f"{way}.{libvirts}": f"{way}-{ours}"
            for way in ("rx", "tx")
            for libvirts, ours in (
                ("bytes", "bytes"), ("pkts", "packets"), ("errs", "errors"), ("drop", "dropped"),
            )
        },
    ),
    "block": (
        "disks",
        {
            "backingIndex": "backing-index",
            **{
                f"{libvirts}.{what}": f"{ours}-{name}"
                for libvirts, ours in (("rd", "read"), ("wr", "write"), ("fl", "flush"))
                for what, name in (("reqs", "requests"), ("bytes", "bytes"), ("times", "time-ns"))
            },
        },
    ),
}  # fmt: skip

_VCPU_STATES = {0: "offline", 1: "running", 2: "blocked"}

# list -> the counters that have a rate, the rate's name, and the sum over all devices that the domain shows
_RATED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    kind: {name: (f"{name}-per-second", f"{prefix}-{name}-per-second") for name in names}
    for kind, prefix, names in (
        ("disks", "disk", ("read-bytes", "write-bytes", "read-requests", "write-requests", "flush-requests")),
        ("interfaces", "net", ("rx-bytes", "tx-bytes", "rx-packets", "tx-packets")),
    )
}

# What the ring keeps of each sample.
HISTORY = (
    "cpu-host-percent",
    "cpu-guest-percent",
    "memory-used",
    "memory-current",
    "memory-rss",
    *(total for rated in _RATED.values() for _, total in rated.values()),
)
BYTE_KEYS = frozenset({"memory-used", "memory-current", "memory-rss"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One domain at one moment. at_ns: monotonic. moment_us: since the host was booted (virtbridge.clock)."""

    at_ns: int
    moment_us: int
    groups: frozenset[str]
    values: Values = field(compare=False)


class _Series(NamedTuple):
    """Counters of one thing when their rates were last computed, and those rates."""

    at_ns: int
    counters: Mapping[str, int]
    rates: Mapping[str, float]


class Track(NamedTuple):
    """What the next sample of a domain is compared with. run: what changes when the guest is started anew."""

    run: int
    series: Mapping[tuple[str, str], _Series]


def group_flags(groups: Iterable[str]) -> int:
    flags = 0
    for group in groups:
        flags |= GROUPS[group]
    return flags


def flatten(raw: Mapping[str, Any]) -> Values:
    """Return libvirt's `block.0.rd.bytes` and the like as the contract's values. What has no name here is in
    `other` under libvirt's own; the caller names the state's numbers.
    """
    values: Values = {}
    devices: dict[str, dict[int, Values]] = {kind: {} for mark, kind in _LIST_BY_COUNT.items() if mark in raw}
    other: Values = {}
    for key, value in raw.items():
        kind, number, name, factor = _destination(key)
        if kind:
            of_kind = devices.get(kind)
            if of_kind is None:
                of_kind = devices[kind] = {}
            device = of_kind.get(number)
            if device is None:
                device = of_kind[number] = {"number": number} if kind == "vcpus" else {}
            device[name] = _VCPU_STATES.get(value, str(value)) if name == "state" else value
        elif factor:
            values[name] = value * factor
        elif name:
            other[name] = value
    for kind, found in devices.items():
        values[kind] = [found[number] for number in sorted(found)]
    if "memory-available" in values and "memory-unused" in values:
        values["memory-used"] = max(0, values["memory-available"] - values["memory-unused"])
    if other:
        values["other"] = other
    return values


_LIST_BY_COUNT = {"vcpu.current": "vcpus", "net.count": "interfaces", "block.count": "disks"}


# A thousand domains have the same keys, again and again.
@lru_cache(maxsize=1 << 14)
def _destination(key: str) -> tuple[str, int, str, int]:
    """Return where a value goes: list, device's number, name; or name and factor; or name only, for `other`;
    or nowhere.
    """
    if key in _PLAIN:
        return "", 0, *_PLAIN[key]
    prefix, _, numbered = key.partition(".")
    number, _, name = numbered.partition(".")
    if prefix in _DEVICES and name and len(number) < 10 and number.isascii() and number.isdecimal():
        kind, names = _DEVICES[prefix]
        return kind, int(number), names.get(name, name), 0
    return "", 0, "" if key in _SHOWN_ELSEWHERE else key, 0


def rated(
    values: Values, before: Track | None, *, run: int, at_ns: int, host_cpus: int
) -> tuple[Values, Track]:
    """Add the rates to the values, which are the caller's own, and return them with what the next ones are
    compared with.

    A rate is over the time since the sample before, never negative, and left out where there is none to
    compare with: the guest was started or has arrived since, or a counter began anew. Two samples that are
    very close load their rates. A sample older than the one before changes nothing.
    """
    anew = before is None or before.run != run
    known = before.series if before is not None and not anew else {}
    series: dict[tuple[str, str], _Series] = {}

    def rates_of(key: tuple[str, str], counters: Mapping[str, int]) -> Mapping[str, float]:
        if not counters:
            return {}  # not reported this time: the next sample is compared with the last report
        each = series[key] = _next(known.get(key), counters, at_ns)
        return each.rates

    if "cpu-time-ns" in values:
        rates = rates_of(("cpu", ""), {"time": values["cpu-time-ns"]})
        if "time" in rates:
            load = rates["time"] / 1e9  # CPU seconds per second
            values["cpu-host-percent"] = _percent(load / max(1, host_cpus))
            if vcpus := values.get("vcpus-current"):
                values["cpu-guest-percent"] = _percent(load / vcpus)
    for vcpu in values.get("vcpus", ()):
        _rate_vcpu(vcpu, rates_of)
    for kind, names in _RATED.items():
        if kind in values:
            for device in values[kind]:
                _rate_device(kind, device, names, rates_of)
            if values[kind] or not anew:  # a guest seen for the first time has no rates, not even zero
                _add_totals(values, values[kind], names)
    if known.keys() - series.keys():
        series |= {key: known[key] for key in known if key not in series and _may_return(key, values)}
    return values, Track(run, series)


def _may_return(key: tuple[str, str], values: Values) -> bool:
    """Return whether the next sample may have counters that this one lacks.

    A list that this sample has shows which of its devices were removed; other lists were not asked for.
    """
    kind, name = key
    return kind not in values or any(_name(device) == name for device in values[kind])


def _next(before: _Series | None, counters: Mapping[str, int], at_ns: int) -> _Series:
    if before is None:
        return _Series(at_ns, counters, {})
    span_ns = at_ns - before.at_ns
    if span_ns < _MIN_SPAN_NS:
        return before
    then, rates = before.counters, {}
    for name, value in counters.items():
        if name in then:
            if value < then[name]:
                # The counters begin again: how much each has missed is not known.
                return _Series(at_ns, counters, {})
            rates[name] = (value - then[name]) * 1e9 / span_ns
    return _Series(at_ns, counters, rates)


def _rate_vcpu(vcpu: Values, rates_of: Any) -> None:
    if "time-ns" in vcpu:
        rates = rates_of(("vcpus", _name(vcpu)), {"time": vcpu["time-ns"]})
        if "time" in rates:
            vcpu["percent"] = _percent(rates["time"] / 1e9)


def _rate_device(kind: str, device: Values, names: Mapping[str, tuple[str, str]], rates_of: Any) -> None:
    rates = rates_of((kind, _name(device)), {name: device[name] for name in names if name in device})
    for name, rate in rates.items():
        device[names[name][0]] = rate


def _add_totals(values: Values, devices: list[Values], names: Mapping[str, tuple[str, str]]) -> None:
    """Add sums over the devices whose rate is known; they are 0 for a domain that has no device."""
    for rate, total in names.values():
        rates = [device[rate] for device in devices if rate in device]
        if rates or not devices:
            values[total] = sum(rates, 0.0)


def _name(device: Values) -> str:
    return str(device.get("name", device.get("number", "")))


def _percent(load: float) -> float:
    """Return a percentage, 100 at most: libvirt reads clocks that tick in hundredths of a second, so a busy
    CPU would show as 101 at times.
    """
    return min(100.0, max(0.0, load * 100))

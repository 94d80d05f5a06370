"""Arguments and options that many rows have, and libvirt's values for what callers give. Pure.

Source: libvirt's API; the numbers of flags and types are the same in every libvirt.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from virtbridge.model.operations.row import XML_LIMIT, Parameter

# Numbers of CPUs are places in a map of bits; no host that libvirt runs on has more.
_CPU_LIMIT = 8192


def bit(name: str, bit: int, *harmless: bool) -> Parameter:
    """One of libvirt's flags as an option of its own. harmless: see Parameter."""
    return Parameter(name, "b", default=0, into="flags", bit=bit, harmless=harmless or None)


def flags(harmless_bits: int | None = None) -> Parameter:
    """libvirt's own flags, as an escape hatch."""
    return Parameter("flags", "u", default=0, harmless_bits=harmless_bits)


def same(*words: str) -> Mapping[str, str]:
    return {word: word for word in words}


def numbered(*words: str) -> Mapping[str, int]:
    """The words of an enumeration that begins with 0."""
    return {word: number for number, word in enumerate(words)}


# Of several calls: without either of live and config libvirt changes what the object is at the time, the
# running one while it is active and else its definition.
AFFECT = (bit("live", 1), bit("config", 2), flags())
XML = Parameter("xml", "s", limit=XML_LIMIT)
PARAMETERS = Parameter("parameters", "a{sv}")
DISK = Parameter("disk", "s")
VALIDATE = 1  # VIR_…_DEFINE_VALIDATE and VIR_…_CREATE_VALIDATE of most kinds


def kibibytes(given: int) -> int:
    """Bytes as KiB, rounded up. libvirt counts in C's long."""
    return _below(-(-given // 1024), 63)


def size(given: int) -> int:
    return _below(given, 63)


def seconds(milliseconds: int) -> int:
    """Rounded up."""
    return _below(-(-milliseconds // 1000), 31)


def whole_number(given: int) -> int:
    """For C's int."""
    return _below(given, 31)


def moment(microseconds: int) -> dict[str, int]:
    """A time since the epoch, as virDomain.setTime() takes it."""
    whole, rest = divmod(microseconds, 1_000_000)
    return {"seconds": _below(whole, 63), "nseconds": rest * 1000}


def or_none(given: Any) -> Any:
    """Nothing, where what the caller gave is empty."""
    return given or None


def cpu_mask(numbers: Iterable[int]) -> tuple[bool, ...]:
    chosen = _cpus(numbers)
    return tuple(number in chosen for number in range(max(chosen) + 1))


def cpu_list(numbers: Iterable[int]) -> str:
    """As in "0,1,5"."""
    return ",".join(map(str, sorted(_cpus(numbers))))


def _cpus(numbers: Iterable[int]) -> set[int]:
    chosen = set(numbers)
    if not chosen:
        raise ValueError("it names no CPU")
    if max(chosen) >= _CPU_LIMIT:
        raise ValueError(f"there is no CPU {max(chosen)}")
    return chosen


def _below(number: int, bits: int) -> int:
    if number >= 1 << bits:
        raise ValueError("it is too large")
    return number

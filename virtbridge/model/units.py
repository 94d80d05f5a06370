"""Numbers in libvirt's XML: sizes as bytes, times as microseconds, and the largest that there are.

Pure. Source: virScaleInteger() and https://libvirt.org/formatdomain.html#memory-allocation: `k` and `KiB` are
1024, `KB` is 1000, and so on up to E; the units are read in any case; memory without a unit is in KiB.
"""

UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1  # what the bus can carry, and the largest number libvirt itself can hold

_FACTORS = {"": 1024, "b": 1, "byte": 1, "bytes": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _FACTORS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}


def memory_bytes(text: str | None, unit: str | None) -> int | None:
    """Read a memory element's text and unit attribute in bytes; None when they are no size.

    Anything over the bus's largest number is that number, as with libvirt's own "unlimited".
    """
    number = whole_number(text)
    factor = _FACTORS.get((unit or "").lower())
    return None if number is None or factor is None else min(number * factor, UINT64_MAX)


def whole_number(text: str | None) -> int | None:
    """Read a non-negative decimal number, at most the bus's largest; None for anything else."""
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdecimal()):
        return None
    # Python refuses to convert thousands of digits; libvirt refuses more than 20.
    return min(int(digits), UINT64_MAX) if len(digits) <= 20 else UINT64_MAX


def microseconds(seconds: str) -> int:
    """Read seconds, with a fraction of up to nine digits or without; what is no number counts as 0."""
    whole, _, fraction = seconds.strip().partition(".")
    part = whole_number(fraction.ljust(6, "0")[:6]) or 0
    return min((whole_number(whole) or 0) * 1_000_000 + part, UINT64_MAX)

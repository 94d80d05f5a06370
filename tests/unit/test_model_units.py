"""Sizes: every unit libvirt knows, in any case, and nothing over what the bus can carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.model.units import UINT64_MAX, memory_bytes, whole_number

UNITS = {
    "b": 1,
    "byte": 1,
    "bytes": 1,
    "KB": 10**3,
    "k": 2**10,
    "KiB": 2**10,
    "MB": 10**6,
    "M": 2**20,
    "MiB": 2**20,
    "GB": 10**9,
    "G": 2**30,
    "GiB": 2**30,
    "TB": 10**12,
    "T": 2**40,
    "TiB": 2**40,
    "PB": 10**15,
    "P": 2**50,
    "PiB": 2**50,
    "EB": 10**18,
    "E": 2**60,
    "EiB": 2**60,
}


@pytest.mark.parametrize(("unit", "factor"), UNITS.items())
def test_every_unit_in_any_case(unit: str, factor: int) -> None:
    assert memory_bytes("3", unit) == 3 * factor
    assert memory_bytes("3", unit.upper()) == 3 * factor
    assert memory_bytes("3", unit.lower()) == 3 * factor


@pytest.mark.parametrize("unit", [None, ""])
def test_memory_without_a_unit_is_in_kibibytes(unit: str | None) -> None:
    assert memory_bytes(" 8192\n", unit) == 8192 * 1024


@pytest.mark.parametrize(
    ("text", "unit"), [("99", "EiB"), (str(2**64), "b"), ("9" * 5000, "b"), ("0" * 3 + "9" * 21, "KiB")]
)
def test_what_the_bus_cannot_carry_is_the_largest_number_it_can(text: str, unit: str) -> None:
    assert memory_bytes(text, unit) == UINT64_MAX == 2**64 - 1


@pytest.mark.parametrize("text", [None, "", " ", "-1", "+1", "1.5", "0x10", "1 2", "1_000", "many", "٣", "²"])
def test_what_is_no_number_is_none(text: str | None) -> None:
    assert whole_number(text) is None
    assert memory_bytes(text, "KiB") is None


@pytest.mark.parametrize("unit", ["kibibytes", "ZiB", "i", "1", "K B"])
def test_an_unknown_unit_is_none(unit: str) -> None:
    assert memory_bytes("1", unit) is None


@given(st.integers(0, UINT64_MAX), st.sampled_from(sorted(UNITS)))
def test_a_size_written_in_any_unit_is_read_back(size: int, unit: str) -> None:
    count = size // UNITS[unit]
    assert memory_bytes(str(count), unit) == count * UNITS[unit]
    assert memory_bytes(str(size), "b") == size


@given(st.text(), st.none() | st.text())
def test_any_text_is_a_size_or_none(text: str, unit: str | None) -> None:
    size = memory_bytes(text, unit)
    assert size is None or 0 <= size <= UINT64_MAX

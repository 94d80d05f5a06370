"""Bodies made without a library are what the library would have made."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.bus.samples import history_body, sample_entry, sampled_body, values_body
from virtbridge.wire.transport import Variant, marshal

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.booleans(), names
)  # fmt: skip
devices = st.lists(st.dictionaries(names, scalars, max_size=4), max_size=3)
values = st.dictionaries(
    names, st.one_of(scalars, devices, st.dictionaries(names, scalars, max_size=3)), max_size=6
)


def variant(value: Any) -> Any:
    if isinstance(value, bool):
        return Variant("b", value)
    if isinstance(value, int):
        return Variant("t" if value >= 0 else "x", value)
    if isinstance(value, float):
        return Variant("d", value)
    if isinstance(value, str):
        return Variant("s", value)
    if isinstance(value, list):
        return Variant("aa{sv}", [variants(each) for each in value])
    return Variant("a{sv}", variants(value))


def variants(found: dict[str, Any]) -> dict[str, Any]:
    return {name: variant(value) for name, value in found.items()}


@given(values)
def test_one_sample(found: dict[str, Any]) -> None:
    assert values_body(found) == marshal("a{sv}", [variants(found)])


def test_a_number_too_large_is_the_largest() -> None:
    largest = {"memory-maximum": 2**64 - 1, "odd": -(2**63)}
    assert values_body({"memory-maximum": 2**74, "odd": -(2**70)}) == values_body(largest)


@given(st.lists(values, max_size=3))
def test_many_samples(found: list[dict[str, Any]]) -> None:
    by_path = {f"/domain/{number}": each for number, each in enumerate(found)}
    made = sampled_body(7, [sample_entry(path, each) for path, each in by_path.items()])
    assert made == marshal("ta{oa{sv}}", [7, {path: variants(each) for path, each in by_path.items()}])


@given(st.lists(st.tuples(st.integers(0, 2**60), values), max_size=3))
def test_history(rows: list[tuple[int, dict[str, Any]]]) -> None:
    assert history_body(rows) == marshal("a(ta{sv})", [[[time, variants(each)] for time, each in rows]])

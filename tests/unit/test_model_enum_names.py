"""libvirt's constants as the contract's words, with whatever libvirt is installed."""

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.model.enum_names import enum_names, name_of

CONSTANTS = vars(libvirt)


def test_the_contracts_own_example() -> None:
    names = enum_names(CONSTANTS, "VIR_DOMAIN_PAUSED_")
    assert names[libvirt.VIR_DOMAIN_PAUSED_MIGRATION] == "migration"
    assert names[libvirt.VIR_DOMAIN_PAUSED_STARTING_UP] == "starting-up"


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("VIR_DOMAIN_RUNNING_", ["unknown", "booted", "migrated", "restored", "from-snapshot"]),
        (
            "VIR_DOMAIN_SHUTOFF_",
            ["unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed"],
        ),
        ("VIR_NETWORK_EVENT_", ["defined", "undefined", "started", "stopped"]),
        ("VIR_DOMAIN_EVENT_ID_", ["lifecycle", "reboot", "rtc-change", "watchdog", "io-error", "graphics"]),
    ],
)
def test_words_stand_at_their_values(prefix: str, words: list[str]) -> None:
    names = enum_names(CONSTANTS, prefix, exclude=("ID_",) if prefix.endswith("EVENT_") else ())
    assert [names[value] for value in range(len(words))] == words
    assert "last" not in names.values()


def test_another_enumeration_under_the_same_prefix_can_be_left_out() -> None:
    constants = {"VIR_X_ON": 1, "VIR_X_EVENT_FIRST": 1, "VIR_X_EVENT_SECOND": 2, "VIR_X_LAST": 3, "VIR_X_": 4}
    assert enum_names(constants, "VIR_X_", exclude=("EVENT_",)) == {1: "on"}


def test_only_whole_numbers_count_and_the_first_name_wins() -> None:
    constants = {"P_TEXT": "x", "P_FLAG": True, "P_A": 1, "P_B": 1, "Q_C": 2, "XP_D": 3}
    assert enum_names(constants, "P_") == {1: "a"}


@given(st.integers())
def test_a_value_of_a_newer_libvirt_travels_as_its_number(value: int) -> None:
    names = enum_names(CONSTANTS, "VIR_DOMAIN_PAUSED_")
    assert name_of(names, value) == names.get(value, str(value))
    assert name_of({}, value) == str(value)


words = st.lists(st.sampled_from(["LAST", "A", "STARTING", "UP", "2"]), min_size=1, max_size=4).map("_".join)


@given(st.dictionaries(words, st.integers(), max_size=8))
def test_every_value_has_a_word_of_the_contracts_alphabet(constants: dict[str, int]) -> None:
    names = enum_names({f"P_{name}": value for name, value in constants.items()}, "P_")
    assert set(names) == {value for name, value in constants.items() if name != "LAST"}
    assert all("_" not in word and word == word.lower() for word in names.values())

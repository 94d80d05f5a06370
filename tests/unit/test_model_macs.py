"""MAC addresses, however they are spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.model.macs import normal_mac


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("52:54:00:6b:3c:58", "52:54:00:6b:3c:58"),
        ("52-54-00-6B-3C-58", "52:54:00:6b:3c:58"),
        (" 52:54:0:6B:3C:8 ", "52:54:00:6b:3c:08"),
        ("52:54:00:6b:3c", None),
        ("52:54:00:6b:3c:58:00", None),
        ("52:54:00:6b:3c:5g", None),
        ("52:54:00:6b:3c:058", None),
        ("52:54:00:6b:3c:", None),
        ("52:54:00:6b:3c:58\n", "52:54:00:6b:3c:58"),
        ("", None),
    ],
)
def test_mac_addresses(text: str, normal: str | None) -> None:
    assert normal_mac(text) == normal


@given(st.binary(min_size=6, max_size=6), st.sampled_from(":-"), st.booleans())
def test_a_mac_address_is_the_same_in_every_form(raw: bytes, mark: str, upper: bool) -> None:
    text = raw.hex(mark)
    assert normal_mac(text.upper() if upper else text) == raw.hex(":")


@given(st.text())
def test_any_text_is_a_mac_address_or_none(text: str) -> None:
    mac = normal_mac(text)
    assert mac is None or normal_mac(mac) == mac

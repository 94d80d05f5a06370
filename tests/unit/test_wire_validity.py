"""No body that is not what its signature says reaches a library's decoder; GLib is the judge."""

import random
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtbridge.wire.framing import BIG, LITTLE
from virtbridge.wire.transport import BadBody, Variant, marshal, unmarshal
from virtbridge.wire.validity import Invalid, check

OPTIONS = {
    "max-age": Variant("t", 5),
    "names": Variant("as", ["a", ""]),
    "deep": Variant("v", Variant("b", True)),
}
BODIES: list[tuple[str, list[Any]]] = [
    ("ssa{sv}", ["domain", "q", OPTIONS]),
    ("sasa{sv}", ["domain", ["Name", "State"], {}]),
    ("a{oa{sa{sv}}}", [{"/a/b": {"i": OPTIONS}, "/": {}}]),
    ("a(ta{sv})", [[[1, OPTIONS], [2**64 - 1, {}]]]),
    ("ybnqiuxtd", [1, False, -1, 2, -3, 4, -5, 6, 0.5]),
    ("aya(yx)agab", [b"bytes", [[1, 2]], ["a{sv}", "", "(i(ss))"], [True, False]]),
    ("vov", [Variant("(sai)", ["x", [1, 2]]), "/x_1", Variant("a{sv}", OPTIONS)]),
]
MARSHALLED = [(signature, marshal(signature, values)) for signature, values in BODIES]


def is_valid(signature: str, body: bytes) -> bool:
    try:
        check(signature, body, little=True)
    except Invalid:
        return False
    return True


def mutated(body: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, cut out or put in: lengths, padding, text and ends among them."""
    raw = bytearray(body)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(raw)) if raw else 0
        match dice.randrange(5):
            case 0 | 1:
                raw[place : place + 1] = bytes(
                    [dice.choice((0, 1, 2, 47, 115, 118, 128, 255, dice.randrange(256)))]
                )
            case 2:
                del raw[place : place + dice.randint(1, 8)]
            case 3:
                raw[place:place] = bytes(dice.randint(1, 8))
            case _:
                raw[place & ~3 : (place & ~3) + 4] = dice.choice((2**31, 2**32 - 1, 9, 2**26 + 8)).to_bytes(
                    4, "little"
                )
    return bytes(raw)


_JUDGE = """
import sys
from gi.repository import Gio
for line in sys.stdin:
    try:
        Gio.DBusMessage.new_from_blob(bytes.fromhex(line), Gio.DBusCapabilityFlags.NONE)
    except Exception:
        print(0)
    else:
        print(1)
"""


def frame(signature: str, body: bytes) -> bytes:
    """A reply with this body."""
    raw = signature.encode()
    fields = b"\5\1u\0\1\0\0\0\x08\1g\0" + bytes((len(raw),)) + raw + b"\0"
    head = b"l\2\0\1" + b"".join(number.to_bytes(4, "little") for number in (len(body), 1, len(fields)))
    return head + fields + bytes(-len(fields) & 7) + body


def judged(frames: list[bytes]) -> list[bool]:
    lines = "\n".join(each.hex() for each in frames)
    words = ["/usr/bin/python3", "-c", _JUDGE]
    told = subprocess.run(words, input=lines, capture_output=True, text=True, check=True, timeout=60)
    return [line == "1" for line in told.stdout.split()]


def has_glib() -> bool:
    words = ["/usr/bin/python3", "-c", "from gi.repository import Gio"]
    if not shutil.which(words[0]):
        return False
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_glib(), reason="needs python3-gi")
def test_what_is_taken_for_valid_is_valid_to_glib() -> None:
    dice = random.Random(7)
    bodies = [(signature, mutated(body, dice)) for signature, body in MARSHALLED * 400]
    ours = [is_valid(signature, body) for signature, body in bodies]
    theirs = judged([frame(signature, body) for signature, body in bodies])
    assert 50 < sum(ours) < len(ours) / 2
    wrong = [body for body, valid, glib in zip(bodies, ours, theirs, strict=True) if valid and not glib]
    assert wrong == []
    # GLib looks at neither padding nor what is left over: few others are to be refused by us alone.
    assert sum(theirs) - sum(ours) < len(ours) / 5


@pytest.mark.parametrize(("signature", "body"), MARSHALLED, ids=[signature for signature, _ in BODIES])
def test_what_a_library_has_made_is_valid(signature: str, body: bytes) -> None:
    assert is_valid(signature, body)
    assert unmarshal(signature, body)


@settings(deadline=None)
@given(st.sampled_from(MARSHALLED), st.randoms(use_true_random=False))
def test_a_body_is_decoded_or_refused(made: tuple[str, bytes], dice: random.Random) -> None:
    """In this process: a decoder that crashes ends it."""
    signature, body = made[0], mutated(made[1], dice)
    for endian in (LITTLE, BIG):
        try:
            unmarshal(signature, body, endian)
        except BadBody:
            pass
        else:
            check(signature, body, little=endian == LITTLE)


def nested(levels: int) -> bytes:
    """A variant in a variant, and so on."""
    return b"\1v\0" * (levels - 1) + b"\1y\0\7"


@pytest.mark.parametrize(
    ("signature", "body", "valid"),
    [
        ("v", nested(64), True),
        ("v", nested(65), False),
        ("v", nested(100_000), False),
        ("b", b"\2\0\0\0", False),
        ("yu", b"\1\0\0\0\7\0\0\0", True),
        ("yu", b"\1\0\1\0\7\0\0\0", False),
        ("s", b"\3\0\0\0a\0b\0", False),
        ("o", b"\2\0\0\0a/\0", False),
        ("o", b"\2\0\0\0/a\0", True),
        ("g", b"\2a{\0", False),
        ("g", b"\4a{vs\0", False),
        ("at", b"\4\0\0\0\0\0\0\0\0\0\0\0", False),
        ("at", b"\0\0\0\0\0\0\0\0", True),
        ("a" * 33 + "y", b"\0\0\0\0", False),
        ("y", b"\1\2", False),
        ("()", b"", False),
    ],
)  # fmt: skip
def test_limits(signature: str, body: bytes, valid: bool) -> None:
    assert is_valid(signature, body) == valid

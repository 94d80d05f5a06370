"""Object paths and keys: each decodes to what was encoded, and nothing else decodes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.bus.paths import ROOT, connection_path, escape, key_of, path_of, unescape
from virtbridge.model.keys import Key, Kind, connection_key

# What a bus accepts as an object path.
OBJECT_PATH = re.compile(r"/|(/[A-Za-z0-9_]+)+")

names = st.text(min_size=1) | st.from_regex(r"[a-z0-9_.-]+", fullmatch=True)
keys = st.one_of(
    st.builds(connection_key, names),
    st.builds(
        Key,
        names,
        st.sampled_from([Kind.DOMAIN, Kind.NETWORK, Kind.POOL, Kind.SECRET, Kind.NWFILTER]),
        st.uuids().map(str),
        st.just(""),
    ),
    st.builds(
        Key,
        names,
        st.sampled_from([Kind.NODEDEV, Kind.INTERFACE, Kind.NWFILTERBINDING]),
        st.text(),
        st.just(""),
    ),
    st.builds(
        Key,
        names,
        st.sampled_from([Kind.VOLUME, Kind.SNAPSHOT, Kind.CHECKPOINT]),
        st.text(),
        st.uuids().map(str),
    ),
)


@pytest.mark.parametrize(
    ("name", "element"),
    [
        ("", "_"),
        ("lab", "lab"),
        ("qemu+ssh", "qemu_2bssh"),
        ("7up", "_37up"),
        ("a7", "a7"),
        ("_", "_5f"),
        ("a_b", "a_5fb"),
        ("ö", "_c3_b6"),
        ("a/b", "a_2fb"),
    ],
)
def test_systemds_escaping(name: str, element: str) -> None:
    assert escape(name) == element
    assert unescape(element) == name


@given(st.text())
def test_a_name_decodes_to_what_was_encoded(name: str) -> None:
    assert unescape(escape(name)) == name
    assert OBJECT_PATH.fullmatch("/" + escape(name))


@given(st.binary())
def test_bytes_that_are_no_text_survive(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    assert unescape(escape(name)) == name


@given(st.text() | st.from_regex(r"[a-z0-9_]+", fullmatch=True))
def test_an_element_that_was_never_encoded_is_none(element: str) -> None:
    name = unescape(element)
    assert name is None or escape(name) == element


@pytest.mark.parametrize("element", ["", "a-b", "_6", "_6G", "a__", "7", "_61", "_C3", "_ 6", "ö"])
def test_elements_that_were_never_encoded(element: str) -> None:
    assert unescape(element) is None


def test_the_contracts_own_paths() -> None:
    uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"
    flat = "_6695eb01_f6a4_8304_79aa_97f2502e193f"
    assert path_of(connection_key("lab")) == connection_path("lab") == "/org/virtbridge1/lab"
    assert path_of(Key("lab", Kind.DOMAIN, uuid)) == f"/org/virtbridge1/lab/domain/{flat}"
    assert path_of(Key("lab", Kind.NETWORK, uuid)) == f"/org/virtbridge1/lab/network/{flat}"
    assert path_of(Key("lab", Kind.POOL, uuid)) == f"/org/virtbridge1/lab/pool/{flat}"
    assert path_of(Key("lab", Kind.SECRET, uuid)) == f"/org/virtbridge1/lab/secret/{flat}"
    device = Key("lab", Kind.NODEDEV, "pci_0000_00_02_0")
    assert path_of(device) == "/org/virtbridge1/lab/nodedev/pci_5f0000_5f00_5f02_5f0"
    assert path_of(Key("lab", Kind.INTERFACE, "br-0")) == "/org/virtbridge1/lab/interface/br_2d0"
    snapshot = Key("lab", Kind.SNAPSHOT, "before upgrade", uuid)
    assert path_of(snapshot) == f"/org/virtbridge1/lab/domain/{flat}/snapshot/before_20upgrade"


@given(keys)
def test_a_path_decodes_to_its_key(key: Key) -> None:
    path = path_of(key)
    assert OBJECT_PATH.fullmatch(path)
    assert key_of(path) == key


@given(st.lists(keys, unique=True))
def test_two_keys_never_share_a_path(several: list[Key]) -> None:
    assert len({path_of(key) for key in several}) == len(several)


@given(st.text(), st.booleans())
def test_any_other_path_has_no_key(text: str, below: bool) -> None:
    path = f"{ROOT}/{text}" if below else text
    key = key_of(path)
    assert key is None or path_of(key) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ROOT,
        ROOT + "/",
        ROOT + "/_",
        "/org/virtbridge2/lab",
        ROOT + "/lab/",
        ROOT + "/lab/domain",
        ROOT + "/lab/connection/_x",
        ROOT + "/lab/volume/_6695eb01_f6a4_8304_79aa_97f2502e193f",
        ROOT + "/lab/domain/6695eb01_f6a4_8304_79aa_97f2502e193f",
        ROOT + "/lab/domain/_6695eb01-f6a4-8304-79aa-97f2502e193f",
        ROOT + "/lab/domain/_6695eb01_f6a4_8304_79aa_97f2502e193f/snapshot",
        ROOT + "/lab/nodedev/pci-0000",
        ROOT + "/lab/nodedev/",
        ROOT + "/lab/domain/_6695eb01_f6a4_8304_79aa_97f2502e193f/network/_6695eb01",
        ROOT + "/lab/network/_6695eb01_f6a4_8304_79aa_97f2502e193f/snapshot/a",
        ROOT + "/lab/snapshot/a",
    ],
)
def test_paths_that_are_no_objects(path: str) -> None:
    assert key_of(path) is None

"""Configuration files as people write them, right and wrong, read from real directories."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from virtbridge.config import Config, ConnectionConfig, files
from virtbridge.config.check import connection_name_problem
from virtbridge.config.files import BadConfig, changed_connections, load_config

LAB = '[connections.lab]\nuri = "test:///default"\n'


def _written(directory: Path, **files: str) -> Path:
    """The main file; the names of the others are their places in conf.d."""
    (directory / "conf.d").mkdir()
    for name, text in files.items():
        place = directory / "virtbridge.toml" if name == "main" else directory / "conf.d" / f"{name}.toml"
        place.write_text(text)
    return directory / "virtbridge.toml"


def _mistakes(directory: Path, connect: Sequence[str] = (), **files: str) -> list[str]:
    """Each mistake's line, with the directory left out."""
    main = _written(directory, **files)
    with pytest.raises(BadConfig) as caught:
        load_config(main, connect)
    return [str(mistake).replace(f"{directory}/", "") for mistake in caught.value.mistakes]


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    main = _written(
        tmp_path,
        main='[connections.lab]\nuri = "qemu+ssh://root@lab.example/system"\nread_only = false\n'
        "events = true  # false: treat the driver as one without events\n"
        "keepalive_interval_s = 5\nkeepalive_count = 3\n[refresh]\naudit_interval_s = 30\n",
    )
    config = load_config(main)
    assert config.connections == {"lab": ConnectionConfig("lab", "qemu+ssh://root@lab.example/system")}
    assert config.refresh.audit_interval_s == 30.0
    assert isinstance(config.refresh.audit_interval_s, float)
    assert config.limits == Config().limits


def test_conf_d_is_read_in_order_and_a_later_setting_wins(tmp_path: Path) -> None:
    main = _written(
        tmp_path,
        main=f"{LAB}[limits]\nqueries = 1\nconnections = 9\n",
        **{
            "20-more": "limits.queries = 3\n",
            "10-first": "limits.queries = 2\n[connections.b]\nuri='test:///b'\n",
        },
    )
    (tmp_path / "conf.d" / ".#lab.toml").write_text("[an editor's lock")
    (tmp_path / "conf.d" / "lab.toml.bak").write_text("[a copy")
    config = load_config(main, ["c=qemu:///system?socket=/run/x=y"])
    assert list(config.connections) == ["lab", "b", "c"]
    assert config.connections["c"].uri == "qemu:///system?socket=/run/x=y"
    assert (config.limits.queries, config.limits.connections) == (3, 9)


def test_no_default_file_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DEFAULT_FILE", tmp_path / "none" / "virtbridge.toml")
    assert load_config() == Config()
    (tmp_path / "none" / "conf.d").mkdir(parents=True)
    (tmp_path / "none" / "conf.d" / "lab.toml").write_text(LAB)
    assert list(load_config().connections) == ["lab"]


def test_every_mistake_of_every_file_is_told(tmp_path: Path) -> None:
    found = _mistakes(
        tmp_path,
        ["lab=test:///default", "nothing", "x=qemu"],
        main='[connections.lab]\nuri = "qemu:///system"\nread_onyl = true\nkeepalive_count = 1000\n'
        "[limits]\nqueries = true\nmessage_bytes = 65536.5\n"
        '[refresh]\naudit_interval_s = nan\n[connections."bad/name\\n"]\nuri = ""\nevents = "no"\n'
        "[nonsense]\n",
        a="[connections.lab\n",
        b='connections = { lab = { uri = "test:///default" }, other = { "read_only" = 1 }, odd = 5 }\n'
        "refresh.reconnect_min_s = 1000\n",
        c="[bus]\naddress = 'somewhere'\n[limits]\noutgoing_high_water_bytes = 134217728\n",
        d="bus = []\n[connections]\n" + "".join(f"n{i}.uri = 'test:///default'\n" for i in range(65)),
    )
    assert found == [
        "virtbridge.toml:3: connections.lab.read_onyl: unknown key; did you mean read_only?",
        "virtbridge.toml:4: connections.lab.keepalive_count: must be from 1 to 100, not 1000",
        "virtbridge.toml:6: limits.queries: must be a whole number, not true",
        "virtbridge.toml:7: limits.message_bytes: must be a whole number, not 65536.5",
        "virtbridge.toml:9: refresh.audit_interval_s: must be from 0 to 86400, not nan",
        'virtbridge.toml:10: connections."bad/name\\n": a connection\'s name has no slash',
        'virtbridge.toml:11: connections."bad/name\\n".uri: is empty',
        'virtbridge.toml:12: connections."bad/name\\n".events: must be true or false, not a string',
        "virtbridge.toml:13: nonsense: unknown key; known are connections, bus, limits, refresh, stats, jobs",
        "conf.d/a.toml:1: Expected ']' at the end of a table declaration",
        "conf.d/b.toml:1: connections.other.read_only: must be true or false, not 1",
        "conf.d/b.toml:1: connections.other: has no uri",
        "conf.d/b.toml:1: connections.odd: must be a table, not 5",
        "conf.d/b.toml:1: connections.lab: is already defined in virtbridge.toml:1",
        "conf.d/b.toml:2: refresh.reconnect_min_s: is more than reconnect_max_s",
        "conf.d/c.toml:2: bus.address: is not a D-Bus address, as in unix:path=/run/dbus/system_bus_socket",
        "conf.d/c.toml:3: limits.connections: is less than the number of connections configured",
        "conf.d/d.toml:1: bus: must be a table, not an array",
        "--connect: nothing: must be NAME=URI",
        "--connect: connections.x.uri: does not start with a driver, as qemu:///system does",
        "--connect: connections.lab: is already defined in virtbridge.toml:1",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[connections.a]\nuri = "x\n', "virtbridge.toml:2: Illegal character '\\n'"),
        (b"a = 1\na = 2\n", "virtbridge.toml:2: a: Cannot overwrite a value"),
        (
            b"[connections.lab]\nuri = 'x'\n\"uri\" = 'test:///secret'  # b\nb = 1\n",
            "virtbridge.toml:3: connections.lab.uri: Cannot overwrite a value",
        ),
        (
            b"[limits]\n[connections.'a b']\n[connections.'a b']\n",
            'virtbridge.toml:3: connections."a b": Cannot declare twice',
        ),
        (b"a = {}\n[a.b]\n", "virtbridge.toml:2: a.b: Cannot declare twice"),
        (b"\n\na = ", "virtbridge.toml:3: Invalid value"),
        (b"a = 1\nb = '\xff'\n", "virtbridge.toml:2: is not UTF-8"),
        (b"#" * (5 << 20), "virtbridge.toml: cannot be read: it is longer than 4 MiB"),
        (b"a = " + b"[" * 100_000, "virtbridge.toml: is nested too deeply"),
        (b"\n[limits]\nqueries = " + b"1" * 5000, "virtbridge.toml:3: has too long a number"),
        (
            b"[limits]\nqueries = 0x" + b"f" * 5000,
            "virtbridge.toml:2: limits.queries: must be from 1 to 64, not a number of more than 64 bits",
        ),
    ],
)
def test_what_is_not_toml(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "virtbridge.toml").write_bytes(content)
    with pytest.raises(BadConfig) as caught:
        load_config(tmp_path / "virtbridge.toml")
    assert [str(each).replace(f"{tmp_path}/", "") for each in caught.value.mistakes] == [expected]


@pytest.mark.parametrize(
    ("refresh", "expected"),
    [
        ("reconnect_max_s = 0.5", ":2: refresh.reconnect_max_s: is less than reconnect_min_s"),
        ("reconnect_min_s = 100", ":2: refresh.reconnect_min_s: is more than reconnect_max_s"),
        ("reconnect_min_s = -5\nreconnect_max_s = 0.5", ":2: refresh.reconnect_min_s: must be from"),
    ],
)
def test_two_keys_that_do_not_fit_are_one_mistake_of_one_that_is_written(
    tmp_path: Path, refresh: str, expected: str
) -> None:
    (found,) = _mistakes(tmp_path, main=f"[refresh]\n{refresh}\n")
    assert found.startswith(f"virtbridge.toml{expected}")


def test_an_editor_s_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "virtbridge.toml").write_bytes(b"\xef\xbb\xbf" + LAB.encode())
    assert list(load_config(tmp_path / "virtbridge.toml").connections) == ["lab"]


def test_a_password_on_the_command_line_is_not_repeated(tmp_path: Path) -> None:
    found = _mistakes(tmp_path, ["esx://root:secret@h", "esx://root:secret@h/?no_verify=1"], main="")
    assert found == ["--connect: a URI without a name: must be NAME=URI"] * 2


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"none\.toml: cannot be read: No such file or directory"):
        load_config(tmp_path / "none.toml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "conf.d" / "a.toml").mkdir(parents=True)
    (tmp_path / "conf.d" / "b.toml").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "conf.d" / "c.toml")
    (tmp_path / "virtbridge.toml").write_text(LAB)
    with pytest.raises(BadConfig) as caught:
        load_config(tmp_path / "virtbridge.toml")
    assert [mistake.text for mistake in caught.value.mistakes] == [
        "cannot be read: Is a directory",
        "cannot be read: No such file or directory",
        "is not a regular file",
    ]


def test_a_conf_d_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "virtbridge.toml").write_text(LAB)
    (tmp_path / "conf.d").touch()
    with pytest.raises(BadConfig, match=r"conf\.d: cannot be read: Not a directory"):
        load_config(tmp_path / "virtbridge.toml")


def test_one_connection_twice_on_the_command_line(tmp_path: Path) -> None:
    found = _mistakes(tmp_path, ["a=test:///default", "a=test:///default"], main="")
    assert found == ["--connect: connections.a: is already defined in --connect"]


def test_a_connection_that_is_wrong_in_one_file_is_still_a_duplicate_in_the_next(tmp_path: Path) -> None:
    found = _mistakes(tmp_path, main="[connections.lab]\n", b=LAB)
    assert found == [
        "virtbridge.toml:1: connections.lab: has no uri",
        "conf.d/b.toml:1: connections.lab: is already defined in virtbridge.toml:1",
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("lab", None),
        ("Büro 2", None),
        ("x" * 64, None),
        ("", "1 to 64"),
        ("x" * 65, "1 to 64"),
        ("a/b", "slash"),
        ("job", "own"),
        ("a\x00", "control"),
        ("a\u202eb", "unprintable"),
    ],
)
def test_connection_names(name: str, problem: str | None) -> None:
    found = connection_name_problem(name)
    assert found is None if problem is None else found and problem in found


def test_a_reload_touches_only_what_changed() -> None:
    same, old, new = (ConnectionConfig(name, "test:///default") for name in ("same", "old", "new"))
    before, after = ConnectionConfig("moved", "test:///a"), ConnectionConfig("moved", "test:///b")
    close, start = changed_connections(
        {"same": same, "old": old, "moved": before},
        {"same": ConnectionConfig("same", "test:///default"), "new": new, "moved": after},
    )
    assert close == ["old", "moved"]
    assert start == [new, after]

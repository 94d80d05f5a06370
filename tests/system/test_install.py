"""`make install` into a directory, as a package build does it, and the result run by Debian's own Python."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = Path("/usr/bin/python3")


def _make(*arguments: str) -> None:
    # Not the variables of the make that runs the tests.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "-C", str(ROOT), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _imports(python: Path, modules: str) -> bool:
    return (
        python.exists()
        and not subprocess.run(
            [python, "-I", "-c", f"import {modules}"], capture_output=True, timeout=60, check=False
        ).returncode
    )


needs_debian = pytest.mark.skipif(
    not _imports(SYSTEM_PYTHON, "libvirt, dbus_next, lxml"),
    reason="/usr/bin/python3 lacks python3-libvirt, python3-dbus-next or python3-lxml",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("install")
    _make("install", f"DESTDIR={directory}", "PREFIX=/usr")
    return directory


def test_everything_is_where_debian_has_it(installed: Path) -> None:
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    outside = {name for name in files if not name.startswith("usr/lib/virtbridge/")}
    interfaces = {f"usr/share/dbus-1/interfaces/{path.name}" for path in (ROOT / "dbus").glob("*.xml")}
    assert len(interfaces) >= 5
    assert outside == interfaces | {
        "usr/bin/virtbridge",
        "usr/lib/systemd/system/virtbridge.service",
        "usr/lib/sysusers.d/virtbridge.conf",
        "usr/share/dbus-1/system-services/org.virtbridge1.service",
        "usr/share/dbus-1/system.d/org.virtbridge1.conf",
        "usr/share/doc/virtbridge/examples/50-virtbridge-group.rules",
        "usr/share/doc/virtbridge/examples/50-virtbridge-one-domain.rules",
        "usr/share/man/man5/virtbridge.toml.5",
        "usr/share/man/man8/virtbridge.8",
        "usr/share/polkit-1/actions/org.virtbridge1.policy",
    }
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "virtbridge").rglob("*.py")}
    contract = {f"virtbridge/contract/{path.name}" for path in (ROOT / "dbus").glob("*.xml")}
    assert {f"usr/lib/virtbridge/{name}" for name in modules | contract} <= files
    assert "usr/lib/virtbridge/virtbridge/contract/org.virtbridge1.conf" not in files


def test_nothing_remembers_where_it_was_built(installed: Path) -> None:
    named = str(installed).encode()
    assert [path for path in installed.rglob("*") if path.is_file() and named in path.read_bytes()] == []


def test_modes_do_not_depend_on_the_builders_umask(installed: Path) -> None:
    assert (installed / "usr/bin/virtbridge").stat().st_mode & 0o777 == 0o755
    assert (installed / "usr/lib/systemd/system/virtbridge.service").stat().st_mode & 0o777 == 0o644


def test_another_prefix_is_named_in_the_unit_and_the_policy_is_in_etc(tmp_path: Path) -> None:
    """In a directory with a blank in its name, of which neither half is anybody's."""
    directory = tmp_path / "to here"
    for half in (tmp_path / "to", ROOT / "here"):
        assert not half.exists()
    (tmp_path / "to").mkdir()
    _make("install", f"DESTDIR={directory}")
    unit = (directory / "usr/local/lib/systemd/system/virtbridge.service").read_text()
    assert "\nExecStart=/usr/local/bin/virtbridge\n" in unit
    assert (directory / "etc/dbus-1/system.d/org.virtbridge1.conf").exists()
    assert (directory / "usr/local/lib/virtbridge/virtbridge/daemon.py").exists()
    assert not (ROOT / "here").exists()
    _make("uninstall", f"DESTDIR={directory}")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (tmp_path / "to").exists()


@needs_debian
def test_debians_python_runs_it(installed: Path) -> None:
    lib = installed / "usr/lib/virtbridge"
    environ: Mapping[str, str] = {"PATH": os.environ["PATH"], "PYTHONPATH": str(lib)}
    code = "import virtbridge.__main__, virtbridge.wire.transport as t; print(virtbridge.__file__, t.LIBRARY)"
    shown = subprocess.run(
        [SYSTEM_PYTHON, "-c", code],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    file, library = shown.stdout.split()
    assert Path(file).is_relative_to(lib)
    assert library in ("dbus-next", "dbus-fast")
    shown = subprocess.run(
        [SYSTEM_PYTHON, "-m", "virtbridge", "--help"],
        env=environ,
        cwd="/",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0
    assert b"--connect NAME=URI" in shown.stdout


@needs_debian
def test_a_wrong_configuration_is_exit_status_2(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "virtbridge.toml").write_text("[connections.lab]\nurl = 'qemu:///system'\n")
    ended = subprocess.run(
        [SYSTEM_PYTHON, "-m", "virtbridge", "--config", str(tmp_path / "virtbridge.toml")],
        env={"PYTHONPATH": str(installed / "usr/lib/virtbridge")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"{tmp_path}/virtbridge.toml:1: connections.lab: has no uri",
        f"{tmp_path}/virtbridge.toml:2: connections.lab.url: unknown key; did you mean uri?",
    ]

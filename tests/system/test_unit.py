"""The unit, the user and the bus's files, as systemd and dbus-daemon themselves read them."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "virtbridge.service"
EXPOSURE_MAX = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


@needs_systemd
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The program itself is not installed here, so it is one that is.
    unit.write_text(UNIT.read_text().replace("/usr/bin/virtbridge", shutil.which("true") or "/bin/true"))
    verified = _run("systemd-analyze", "verify", "--man=no", str(unit))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@needs_systemd
def test_little_is_exposed() -> None:
    shown = _run("systemd-analyze", "security", "--offline=true", "--json=short", "--no-pager", str(UNIT))
    rows = json.loads(shown.stdout)
    assert len(rows) > 50
    judged = _run("systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)).stdout
    exposure = float(judged.rpartition("service: ")[2].split()[0])
    assert 0 < exposure < EXPOSURE_MAX
    exposed = {row["json_field"] for row in rows if row["set"] is False and float(row["exposure"] or 0) > 0}
    # Each is explained in the unit; one more needs a reason there.
    assert exposed <= {
        "RestrictAddressFamilies_AF_INET_INET6",
        "RestrictAddressFamilies_AF_UNIX",
        "PrivateNetwork",
        "IPAddressDeny",
        "RootDirectoryOrRootImage",
        "DeviceAllow",
        "SystemCallFilter_privileged",
        "SystemCallFilter_resources",
    }


def test_the_watchdog_has_time_for_more_than_one_beat() -> None:
    settings = dict(
        line.split("=", 1)
        for line in UNIT.read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert settings["Type"] == "notify"
    assert settings["WatchdogSec"] == "30s"
    assert settings["BusName"] == "org.virtbridge1"
    assert settings["RestartPreventExitStatus"] == "2"


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_the_user_is_made_and_is_in_group_libvirt(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = _run("systemd-sysusers", f"--root={tmp_path}", str(ROOT / "systemd" / "virtbridge.sysusers"))
    assert made.returncode == 0, made.stderr
    user = next(line for line in (tmp_path / "etc/passwd").read_text().splitlines() if "virtbridge" in line)
    assert user.split(":")[5:] == ["/var/lib/virtbridge", "/usr/sbin/nologin"]
    groups = (tmp_path / "etc/group").read_text().splitlines()
    assert next(line for line in groups if line.startswith("libvirt:")).endswith(":virtbridge")


def test_only_the_service_and_root_may_own_the_name() -> None:
    policies = ElementTree.parse(ROOT / "dbus" / "org.virtbridge1.conf").getroot().findall("policy")
    owners = {
        policy.get("user"): [allow.get("own") for allow in policy]
        for policy in policies
        if policy.get("user")
    }
    assert owners == {"virtbridge": ["org.virtbridge1"], "root": ["org.virtbridge1"]}
    (everybody,) = [policy for policy in policies if policy.get("context") == "default"]
    assert [allow.attrib for allow in everybody] == [{"send_destination": "org.virtbridge1"}]

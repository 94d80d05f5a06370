"""The installed service under a real systemd, D-Bus and polkit: `make test-system`, not part of `make test`.

The first run builds a Debian, which takes minutes; the tests build on each other's one booted container.
"""

import os
from collections.abc import Iterator

import pytest

from tests.system.container import Container, booted, build_system

pytestmark = pytest.mark.skipif(
    os.environ.get("VIRTBRIDGE_TEST_SYSTEM") != "1",
    reason="takes minutes and builds a Debian; make test-system runs it",
)

NAME = "org.virtbridge1"
ROOT = "/org/virtbridge1"
TEST_DOMAIN = f"{ROOT}/test/domain/_6695eb01_f6a4_8304_79aa_97f2502e193f"
EXAMPLE = "/usr/share/doc/virtbridge/examples/50-virtbridge-group.rules"
CONFIG = """
[connections.test]
uri = "test:///default"
[connections.system]
uri = "qemu:///system"
"""
DOMAIN = """
<domain type='qemu'>
  <name>vm</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64'>hvm</type></os>
</domain>
"""
# A key for the service's ssh, known to root of the same machine, and the machine known to the service.
SSH = """
set -e
home=/var/lib/virtbridge
install -d -o virtbridge -g virtbridge -m 700 $home $home/.ssh
ssh-keygen -q -t ed25519 -N '' -f $home/.ssh/id_ed25519
install -D -m 600 $home/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
ssh-keyscan -t ed25519 127.0.0.1 > $home/.ssh/known_hosts
chown -R virtbridge: $home
"""
# An authority, and certificates by it for libvirtd and for the service.
TLS = """
set -e
cd $(mktemp -d)
openssl req -x509 -newkey rsa:2048 -nodes -keyout cakey.pem -out cacert.pem -days 2 -subj /CN=authority
echo subjectAltName=IP:127.0.0.1 > names
for who in server client; do
    openssl req -newkey rsa:2048 -nodes -keyout ${who}key.pem -out request.pem -subj /CN=$who
    openssl x509 -req -in request.pem -CA cacert.pem -CAkey cakey.pem -CAcreateserial -days 2 \\
        -extfile names -out ${who}cert.pem
done
install -D -m 644 cacert.pem /etc/pki/CA/cacert.pem
install -D -m 644 servercert.pem /etc/pki/libvirt/servercert.pem
install -D -m 600 serverkey.pem /etc/pki/libvirt/private/serverkey.pem
mkdir -p /var/lib/virtbridge/.pki/libvirt
cp cacert.pem clientcert.pem clientkey.pem /var/lib/virtbridge/.pki/libvirt
chown -R virtbridge: /var/lib/virtbridge
systemctl stop libvirtd libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket
systemctl start libvirtd-tls.socket libvirtd.socket
"""


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    build_system()
    with booted() as container:
        container.run("systemd-sysusers")
        container.run("systemctl", "reload", "dbus")
        container.write("/etc/virtbridge/virtbridge.toml", CONFIG)
        yield container


@pytest.fixture
def running(container: Container) -> Container:
    """The service is up, on a configuration without mistakes."""
    container.run("rm", "-rf", "/etc/virtbridge/conf.d")
    container.run("systemctl", "reset-failed", "virtbridge", check=False)
    container.run("systemctl", "restart", "virtbridge")
    return container


def _property(container: Container, path: str, interface: str, name: str, user: str = "root") -> str:
    shown = container.run(
        "busctl", "get-property", NAME, path, f"{NAME}.{interface}", name, user=user, check=False
    )
    return shown.stdout.strip()


def _until_ready(container: Container, connection: str) -> None:
    container.until(
        lambda: _property(container, f"{ROOT}/{connection}", "Connection", "State") == 's "ready"'
    )


def _unit(container: Container, *names: str) -> list[str]:
    wanted = [f"--property={name}" for name in names]
    lines = container.run("systemctl", "show", *wanted, "virtbridge").stdout.splitlines()
    values = dict(line.split("=", 1) for line in lines)
    return [values[name] for name in names]


def test_the_first_message_of_anybody_starts_it(container: Container) -> None:
    assert _unit(container, "ActiveState") == ["inactive"]
    assert _property(container, ROOT, "Manager", "Version", user="nobody").startswith('s "')
    # The answer can be here before systemd has read that we are ready.
    container.until(lambda: _unit(container, "ActiveState", "SubState") == ["active", "running"])
    (pid,) = _unit(container, "MainPID")
    assert container.run("stat", "-c", "%U", f"/proc/{pid}").stdout.strip() == "virtbridge"


def test_xpath_is_evaluated_in_a_child_under_the_hardening(running: Container) -> None:
    _until_ready(running, "test")
    call = (f"{NAME}.Manager", "QueryXml", "ssa{sv}", "domain", "/domain/name/text()", "0")
    answer = running.run("busctl", "call", NAME, ROOT, *call, user="nobody")
    assert f'"{TEST_DOMAIN}" 1 "test"' in answer.stdout


def test_local_libvirt_is_open_to_the_services_user(running: Container) -> None:
    """Through libvirtd's socket and polkit, with the right to write."""
    _until_ready(running, "system")
    running.write("/root/vm.xml", DOMAIN)
    running.run("virsh", "-c", "qemu:///system", "define", "/root/vm.xml")
    uuid = running.run("virsh", "-c", "qemu:///system", "domuuid", "vm").stdout.strip()
    path = f"{ROOT}/system/domain/_{uuid.replace('-', '_')}"
    running.until(lambda: _property(running, path, "Domain", "Name") == 's "vm"')
    running.run("busctl", "set-property", NAME, path, f"{NAME}.Domain", "Autostart", "b", "true")
    assert (
        "enable"
        in running.run("virsh", "-c", "qemu:///system", "dominfo", "vm").stdout.split("Autostart:")[1]
    )


def test_who_is_not_root_may_read_and_nothing_else(running: Container) -> None:
    _until_ready(running, "test")
    assert _property(running, TEST_DOMAIN, "Domain", "State", user="nobody") == 's "running"'
    calls = (
        ("set-property", NAME, TEST_DOMAIN, f"{NAME}.Domain", "Autostart", "b", "true"),
        ("call", NAME, ROOT, f"{NAME}.Manager", "OpenConnection", "ssa{sv}", "x", "test:///default", "0"),
        ("call", NAME, ROOT, f"{NAME}.Manager", "CloseConnection", "oa{sv}", f"{ROOT}/test", "0"),
    )
    for call in calls:
        refused = running.run("busctl", *call, user="nobody", check=False)
        assert refused.returncode != 0, call
        assert "authenticat" in refused.stderr  # nobody can, without an agent
    bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    stolen = running.run("busctl", "call", *bus, "RequestName", "su", NAME, "2", user="nobody", check=False)
    assert "Access denied" in stolen.stderr


def test_the_example_rule_grants_a_group_everything(running: Container) -> None:
    """The real polkit takes the questions of a service that is not root, as its actions name its user."""
    _until_ready(running, "test")
    running.run("groupadd", "virtbridge-admin")
    running.run("useradd", "--groups", "virtbridge-admin", "boss")
    running.run("cp", EXAMPLE, "/etc/polkit-1/rules.d/")
    words = ("set-property", NAME, TEST_DOMAIN, f"{NAME}.Domain", "Autostart", "b", "true")
    running.until(lambda: running.run("busctl", *words, user="boss", check=False).returncode == 0)
    assert _property(running, TEST_DOMAIN, "Domain", "Autostart") == "b true"
    refused = running.run("busctl", *words, user="nobody", check=False)
    assert "authenticat" in refused.stderr
    assert "refused operation=SetAutostart" in running.run("journalctl", "-u", "virtbridge").stdout


def test_remote_libvirt_over_ssh(running: Container) -> None:
    running.run("sh", "-c", SSH)
    running.write(
        "/etc/virtbridge/conf.d/ssh.toml", '[connections.ssh]\nuri = "qemu+ssh://root@127.0.0.1/system"\n'
    )
    running.run("systemctl", "reload", "virtbridge")
    _until_ready(running, "ssh")


def test_remote_libvirt_over_tls(running: Container) -> None:
    running.run("sh", "-c", TLS)
    running.write(
        "/etc/virtbridge/conf.d/tls.toml", '[connections.tls]\nuri = "qemu+tls://127.0.0.1/system"\n'
    )
    running.run("systemctl", "reload", "virtbridge")
    _until_ready(running, "tls")
    assert _property(running, f"{ROOT}/tls", "Connection", "Encrypted") == "b true"


def test_a_reload_leaves_the_rest_alone(running: Container) -> None:
    _until_ready(running, "test")
    before = _property(running, f"{ROOT}/test", "Connection", "LastSync"), _unit(running, "MainPID")
    running.write("/etc/virtbridge/conf.d/more.toml", '[connections.more]\nuri = "test:///default"\n')
    running.run("systemctl", "reload", "virtbridge")
    _until_ready(running, "more")
    assert (_property(running, f"{ROOT}/test", "Connection", "LastSync"), _unit(running, "MainPID")) == before


def test_a_reload_with_mistakes_changes_nothing(running: Container) -> None:
    running.write("/etc/virtbridge/conf.d/more.toml", "[connections.more]\n")
    running.run("systemctl", "reload", "virtbridge")
    running.until(lambda: "more.toml:1: connections.more: has no uri" in running.journal())
    assert _unit(running, "ActiveState") == ["active"]
    _until_ready(running, "test")


def test_a_start_with_mistakes_is_not_repeated(running: Container) -> None:
    running.run("systemctl", "stop", "virtbridge")
    running.write("/etc/virtbridge/conf.d/more.toml", "x = 1\n")
    assert running.run("systemctl", "start", "virtbridge", check=False).returncode != 0
    assert _unit(running, "ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "2", "0"]
    assert "/etc/virtbridge/conf.d/more.toml:1: x: unknown key" in running.journal()


def test_it_stops_cleanly(running: Container) -> None:
    _until_ready(running, "system")
    running.run("systemctl", "stop", "virtbridge")
    assert _unit(running, "ActiveState", "Result", "ExecMainStatus") == ["inactive", "success", "0"]


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_it_comes_back(running: Container, signal: str) -> None:
    """Killed: at once. Stopped: when the watchdog has waited long enough."""
    (pid,) = _unit(running, "MainPID")
    running.run("kill", f"-{signal}", pid)
    running.until(lambda: _unit(running, "ActiveState", "NRestarts") == ["active", "1"], timeout_s=60)
    assert _unit(running, "MainPID") != [pid]
    _until_ready(running, "test")

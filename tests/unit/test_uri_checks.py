"""Which URIs the configuration and which ones clients may use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.uri_checks import client_uri_problem, uri_problem

_OPEN_TO_CLIENTS = [
    "qemu:///system",
    "qemu:///session",
    "test:///default",
    "xen:///",
    "qemu+ssh://root@lab.example/system",
    "qemu+ssh://lab.example:2222/system?no_tty=1&mode=legacy",
    "qemu+tls://10.0.0.1/system",
    "qemu+tcp://[fe80::1]:16509/system",
    "qemu+libssh2://host/system",
    "qemu+unix:///system",
    "test+tcp://host:5000/default",
    "esx://root@esx.example/",
    "vpx://vc.example/Datacenter/cluster/host",
]
_FOR_THE_CONFIGURATION = {
    "test+unix:///default?socket=/tmp/s": "socket",
    "qemu+ssh://h/system?keyfile=/root/.ssh/id": "keyfile",
    "qemu+ssh://h/system?netcat=/bin/sh": "netcat",
    "qemu+ssh://h/system?command=/tmp/x": "command",
    "qemu+ssh://h/system?COMMAND=/tmp/x": "COMMAND",
    "qemu+ssh://h/system?mode=auto;command=/tmp/x": "command",
    "qemu+ssh://h/system?%63ommand=/tmp/x": "%63ommand",
    "qemu+ssh://h/system?mode=other": "mode",
    "qemu+ssh://h/system?proxy=netcat": "proxy",
    "qemu+ssh://h/system?sshauth=agent": "sshauth",
    "qemu+libssh://h/system?known_hosts=/etc/shadow": "known_hosts",
    "qemu+libssh://h/system?known_hosts_verify=ignore": "known_hosts_verify",
    "qemu+tls://h/system?pkipath=/tmp": "pkipath",
    "qemu+tls://h/system?no_verify=1": "no_verify",
    "qemu+tls://h/system?tls_priority=NULL": "tls_priority",
    "qemu+unix:///system?name=qemu%2bext:///system": "name",
    "qemu+unix:///system?new_in_libvirt_20=1": "new_in_libvirt_20",
    "esx://h/?authfile=/tmp/a": "authfile",
    "qemu+ext://h/system": "ext",
    "qemu+ext:///system?command=/tmp/x": "command",
    "qemu:///embed?root=/tmp/r": "root",
    "qemu:///embed": "embed",
    "test:///etc/passwd": "file",
    "test:///default/../x.xml": "file",
    "test+unix:///tmp/x.xml": "file",
    "test:/tmp/x.xml": "parts",
    "qemu+ssh://-oProxyCommand=x/system": "parts",
    "qemu+ssh://-lroot@h/system": "parts",
    "qemu+ssh://h/system#x": "parts",
    "qemu:////../system": "..",
    "qemu+ssh://a:secret@h/system": "parts",
    "qemu+ssh://h/sys%2ftem": "parts",
}


@pytest.mark.parametrize("uri", _OPEN_TO_CLIENTS)
def test_plain_uris_are_open_to_clients(uri: str) -> None:
    assert client_uri_problem(uri) is None


@pytest.mark.parametrize(("uri", "named"), _FOR_THE_CONFIGURATION.items())
def test_only_the_configuration_may_use(uri: str, named: str) -> None:
    assert uri_problem(uri) is None
    problem = client_uri_problem(uri)
    assert problem is not None
    assert named in problem


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("", "empty"),
        ("qemu", "driver"),
        ("/tmp/x.xml", "driver"),
        ("qemu:system", "slash"),
        ("qemu:///sys tem", "blank"),
        ("qemu:///system\n", "blank"),
        ("qemu:///system\x00", "control"),
        ("qemu+carrier-pigeon://h/system", "driver"),
        ("qemu+rsh://h/system", "transport 'rsh'"),
        ("qemu+://h/system", "transport ''"),
        ("qemu://system", "three slashes"),
        ("qemu+ssh://h:99999/system", "not a URI"),
        ("qemu+ssh://[::1/system", "not a URI"),
        ('esx://root:pass"word@h/', "%XX"),
        ("qemu+tcp://büro/system", "%XX"),
        ("qemu+tcp://user%zz@h/system", "%XX"),
        ("esx://root:p@ssword@h/", "wrong place"),
        ("esx://domain/root:password@h/", "wrong place"),
        ("esx://root:pass/word@h/", "%2F"),
        ("esx://root:pass#word@h/", "%23"),
        ("esx://root:pass[word@h/", "%5B"),
    ],
)
def test_nobody_may_use(uri: str, problem: str) -> None:
    for found in (uri_problem(uri), client_uri_problem(uri)):
        assert found is not None
        assert problem in found


@pytest.mark.parametrize("mark", '/?#[]@:"')
def test_a_problem_shows_nothing_of_a_password(mark: str) -> None:
    problem = uri_problem(f"esx://root:top{mark}secret@h/")
    assert problem is None or not ("top" in problem or "secret" in problem)


@given(uri=st.text() | st.from_regex(r"[a-z]{1,4}(\+[a-z]{3,4})?:/{0,3}.{0,20}", fullmatch=True))
def test_any_text_gets_an_answer(uri: str) -> None:
    if client_uri_problem(uri) is None:
        assert uri_problem(uri) is None
        assert not set(uri) & set("%;#\\'\" \n")

"""What of a URI is shown, and what is opened."""

import pytest

from virtbridge.source.calls.uris import public_text, public_uri, unattended_uri


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("test:///default", "test:///default"),
        ("qemu:///system", "qemu:///system"),
        ("qemu+ssh://root@lab.example/system?keyfile=/root/key", "qemu+ssh://lab.example/system"),
        ("qemu+tls://user:secret@host:16514/system", "qemu+tls://host:16514/system"),
        ("qemu+ssh://a@[fe80::1]:22/system#part", "qemu+ssh://[fe80::1]:22/system"),
        ("test+unix:///default?socket=/run/x", "test+unix:///default"),
        ("esx://admin:p@ss@host/?no_verify=1", "esx://host/"),
        ("qemu://[broken/system", ""),
        ("", ""),
    ],
)
def test_names_passwords_and_parameters_are_not_shown(uri: str, shown: str) -> None:
    assert public_uri(uri) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "no connection driver available for lxc:///system?pw=secret",
            "no connection driver available for lxc:///system",
        ),
        ("cannot read 'https://user:secret@host/a.img?token=x': no", "cannot read 'https://host/a.img': no"),
        (
            "no connection driver available for esx://us'er:secret@host/",
            "no connection driver available for esx://host/",
        ),
        (
            "Failed to connect socket to '/run/x': No such file",
            "Failed to connect socket to '/run/x': No such file",
        ),
        (
            "unable to connect to server at '127.0.0.1:1': refused",
            "unable to connect to server at '127.0.0.1:1': refused",
        ),
    ],
)
def test_a_message_shows_no_more_of_a_uri_than_the_uri_does(text: str, shown: str) -> None:
    """Connection.LastError is open to every local user."""
    assert public_text(text) == shown


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("qemu:///system", "qemu:///system"),
        ("qemu+ssh://host/system", "qemu+ssh://host/system?no_tty=1"),
        ("qemu+ssh://host/system?keyfile=/k", "qemu+ssh://host/system?keyfile=/k&no_tty=1"),
        ("qemu+ssh://host/system?no_tty=0", "qemu+ssh://host/system?no_tty=0"),
    ],
)
def test_ssh_never_asks_on_a_terminal(uri: str, opened: str) -> None:
    assert unattended_uri(uri) == opened

"""libvirt URIs: which are sound, and which of them a client may name.

Pure: nothing is opened or resolved.
Source: https://libvirt.org/uri.html; libvirt's src/remote/remote_driver.c, which reads the parameters, and
src/libvirt.c (virConnectOpenInternal).
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

TRANSPORTS = ("unix", "tls", "tcp", "ssh", "libssh", "libssh2", "ext")

_SCHEME = re.compile(r"(?P<driver>[A-Za-z][A-Za-z0-9.-]*)(?:\+(?P<transport>[A-Za-z0-9]*))?:")
_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")
_NOT_IN_A_URI = re.compile(r"[^!#-;=?-Z\[\]_a-z~]|%(?![0-9A-Fa-f]{2})")  # RFC 3986, as libvirt holds to it
_ESCAPED = "in a user's name or password, / ? # [ @ are written as %2F %3F %23 %5B %40"


def uri_problem(uri: str) -> str | None:
    """Return why virConnectOpen() cannot take this URI, or None. The configuration may use any
    that it can.
    """
    if not uri:
        return "is empty"
    if _BLANK_OR_CONTROL.search(uri):
        return "has a blank or a control character in it"
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return "does not start with a driver, as qemu:///system does"
    transport = scheme["transport"]
    if transport is not None and transport not in TRANSPORTS:
        return f"has an unknown transport {transport!r}; there are {', '.join(TRANSPORTS)}"
    return _address_problem(uri, scheme["driver"])


def _address_problem(uri: str, driver: str) -> str | None:
    """Return what is wrong with the address, without any part of the URI, which may be a password: the text
    is logged.
    """
    if _NOT_IN_A_URI.search(uri):
        return "has a character that a URI has only as %XX, or a % without two digits"
    try:
        parts = urlsplit(uri)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return f"is not a URI: no host and port can be read from it; {_ESCAPED}"
    if parts.netloc.count("@") > 1 or (host and "@" not in parts.netloc and "@" in parts.path):
        return f"has an @ in the wrong place; {_ESCAPED}"
    if not uri.startswith(f"{parts.scheme}:/"):
        return f"has no slash after the driver, as {driver}:///system does"
    if host in ("system", "session") and parts.path in ("", "/"):
        return f"names {host!r} as the host; {driver}:///{host} has three slashes"
    return None


# What a client's URI may be made of: a list of what is known to be harmless, as libvirt hands parameters that
# it does not know itself on to the driver behind it, and new versions bring new ones. Percent signs are not
# in it, so that what is checked is what libvirt reads.
_CLIENT_URI = re.compile(
    r"(?P<driver>[a-z][a-z0-9]*)(?:\+(?P<transport>[a-z0-9]+))?://"
    r"(?:[A-Za-z0-9_.][A-Za-z0-9_.-]*@)?"  # no leading dash: ssh would take it for an option
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{1,5})?"
    r"(?P<path>/[A-Za-z0-9_./-]*)?"
    r"(?:\?(?P<query>[A-Za-z0-9_.=&-]*))?",
)
_CLIENT_PARAMETERS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {"mode": re.compile("auto|direct|legacy"), "no_tty": re.compile("0|1")}
)
# Why the others are refused, for the message: only those that people do write.
_REFUSED_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "command": "runs a program here",
        "netcat": "runs a program on the host",
        "proxy": "chooses the program that runs on the host",
        "socket": "connects to any socket, here or on the host",
        "keyfile": "reads a file",
        "pkipath": "reads files",
        "authfile": "reads a file",
        "known_hosts": "reads and writes a file",
        "root": "makes a driver run in the service itself, on files of the caller's choice",
        "name": "makes the daemon at the other end open any URI, with its own rights",
        "sshauth": "chooses among the service's own keys and passwords",
        "known_hosts_verify": "turns off a check that is the administrator's to turn off",
        "no_verify": "turns off a check that is the administrator's to turn off",
        "no_sanity": "turns off a check that is the administrator's to turn off",
        "tls_priority": "weakens the encryption that the administrator chose",
    }
)
_CONFIGURATION_ONLY = "only the configuration may use it"


def client_uri_problem(uri: str) -> str | None:
    """Return why a client on the bus may not have this URI opened, or None.

    The service opens it with its own rights and keys: nothing in it may run a program, read or write a file
    or choose a socket, at this end or in the daemon behind it.
    """
    if problem := uri_problem(uri):
        return problem
    parts = _CLIENT_URI.fullmatch(uri)
    if problem := _refused_parameter(uri):
        return problem
    if parts is None:
        return f"has characters or parts that are not taken from clients; {_CONFIGURATION_ONLY}"
    if parts["transport"] == "ext":
        return f"has the transport ext, which runs a program; {_CONFIGURATION_ONLY}"
    return _refused_path(parts["driver"], parts["path"] or "")


def _refused_parameter(uri: str) -> str | None:
    for pair in re.split("[&;]", uri.partition("?")[2].partition("#")[0]):
        name, _, value = pair.partition("=")
        allowed = _CLIENT_PARAMETERS.get(name)
        if pair and not (allowed and allowed.fullmatch(value)):
            # libvirt compares some names without case.
            reason = _REFUSED_PARAMETERS.get(name.lower(), "is not one of those known to be harmless")
            return f"parameter {name}: {reason}; {_CONFIGURATION_ONLY}"
    return None


def _refused_path(driver: str, path: str) -> str | None:
    if driver == "test" and path != "/default":
        return (
            f"names a file for the test driver to read; {_CONFIGURATION_ONLY}, test:///default is open to all"
        )
    if path.rstrip("/").endswith("/embed"):
        return f"has the path /embed, which runs a driver in the service itself; {_CONFIGURATION_ONLY}"
    if ".." in path.split("/"):
        return "has .. in its path"
    return None

"""libvirt URIs: what may be shown of them, and how they are opened without a person at hand.

Pure. public_uri is the one function that strips; every log line and every record goes through it.
"""

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

# Up to a quote, as libvirt puts URIs in quotes; but one may be in the password.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/(?:\S*@)?[^\s'\"]*")


def public_uri(uri: str) -> str:
    """The URI without user name, password, parameters and fragment; empty when it cannot be understood."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    shown = urlunsplit((parts.scheme, host, parts.path, "", ""))
    # urlunsplit drops the empty host of test:///default for schemes that it does not know.
    if parts.scheme and not host and uri[len(parts.scheme) + 1 :].startswith("//"):
        shown = f"{parts.scheme}://{parts.path}"
    return shown


def public_text(text: str) -> str:
    """A message of libvirt's as people may see it: it quotes the URI that it could not open, and others."""
    return _URI.sub(lambda found: public_uri(found[0]), text) if ":/" in text else text


def unattended_uri(uri: str) -> str:
    """The URI to open: ssh is told never to ask on the terminal that started the service."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    if not parts.scheme.endswith("+ssh") or any(key == "no_tty" for key, _ in parse_qsl(parts.query)):
        return uri
    head, mark, fragment = uri.partition("#")
    return f"{head}{'&' if '?' in head else '?'}no_tty=1{mark}{fragment}"

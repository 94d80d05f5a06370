"""libvirt URIs: the part of them that may be shown, and the form in which a service opens them.

Pure. public_uri() is the one function that removes secrets; every log line and every record uses it.
"""

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

# A match ends at a quote, since libvirt puts URIs in quotes; a quote before an @ belongs to the password.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/(?:\S*@)?[^\s'\"]*")


def public_uri(uri: str) -> str:
    """Return the URI without user name, password, parameters and fragment; empty when it cannot be parsed."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    shown = urlunsplit((parts.scheme, host, parts.path, "", ""))
    # urlunsplit() drops the empty host of test:///default, since it does not know the scheme.
    if parts.scheme and not host and uri[len(parts.scheme) + 1 :].startswith("//"):
        shown = f"{parts.scheme}://{parts.path}"
    return shown


def public_text(text: str) -> str:
    """Return libvirt's message without the secrets of URIs: libvirt quotes the URI that it could not open."""
    return _URI.sub(lambda found: public_uri(found[0]), text) if ":/" in text else text


def unattended_uri(uri: str) -> str:
    """Return the URI to open, with the option that prevents ssh from asking on the terminal."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    if not parts.scheme.endswith("+ssh") or any(key == "no_tty" for key, _ in parse_qsl(parts.query)):
        return uri
    head, mark, fragment = uri.partition("#")
    return f"{head}{'&' if '?' in head else '?'}no_tty=1{mark}{fragment}"

"""MAC addresses in one spelling: lower case with colons. Pure."""

import re

_NORMAL = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_HEX = frozenset("0123456789abcdef")


def normal_mac(text: str) -> str | None:
    """From any case, with `:` or `-`; None for what is no MAC address."""
    if _NORMAL.fullmatch(text):
        return text
    parts = text.strip().lower().replace("-", ":").split(":")
    if len(parts) != 6 or not all(0 < len(part) <= 2 and _HEX.issuperset(part) for part in parts):
        return None
    return ":".join(part.zfill(2) for part in parts)


def shown_mac(text: str) -> str:
    """The same for showing it: what is no MAC address stays as libvirt wrote it."""
    return normal_mac(text) or text

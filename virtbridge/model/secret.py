"""Secret definitions: what libvirt's XML says about one secret. The value is not in it, nor anywhere here.

As with domains, what is unknown is ignored and odd values never raise. Pure. Threads: any.
Source: libvirt secret XML, https://libvirt.org/formatsecret.html
"""

from dataclasses import dataclass

from virtbridge.model.xml import attribute, children, parse_root, text, yes


@dataclass(frozen=True, slots=True)
class SecretDefinition:
    """usage_type: libvirt's word, none without a usage. usage_id: a volume's path, a name, a target."""

    usage_type: str = "none"
    usage_id: str = ""
    description: str = ""
    ephemeral: bool = False
    private: bool = False


NO_SECRET_DEFINITION = SecretDefinition()

# The element that holds the id, for each type of usage.
_USAGE_ID = {"volume": "volume", "ceph": "name", "iscsi": "target", "tls": "name", "vtpm": "name"}


def parse_secret(xml: str) -> SecretDefinition:
    """Read secret XML as virSecretGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    root = parse_root(xml, "secret")
    parts = children(root)
    usage = parts.get("usage")
    usage_type = attribute(usage, "type")
    inside = children(usage) if usage is not None else {}
    # A type that a newer libvirt adds: its id is the one element in there.
    holder = (
        inside.get(_USAGE_ID.get(usage_type, ""))
        if usage_type in _USAGE_ID
        else next(iter(inside.values()), None)
    )
    return SecretDefinition(
        usage_type=usage_type or "none",
        usage_id=text(holder),
        description=text(parts.get("description")),
        ephemeral=yes(root, "ephemeral"),
        private=yes(root, "private"),
    )

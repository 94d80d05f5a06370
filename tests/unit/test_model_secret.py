"""Every document in tests/data/secrets, and the whole record it makes."""

import pytest

from tests.data import SECRETS, document
from virtbridge.model.secret import SecretDefinition, parse_secret

# Fields that are not named are empty: the dataclasses' defaults.
EXPECTED = {
    "ceph": SecretDefinition(usage_type="ceph", usage_id="client.admin secret", ephemeral=True),
    "iscsi": SecretDefinition(usage_type="iscsi", usage_id="libvirtiscsi"),
    "none": SecretDefinition(),
    "odd": SecretDefinition(usage_type="retina", usage_id="left"),
    "tls": SecretDefinition(usage_type="tls", usage_id="TLS_example"),
    "volume": SecretDefinition(
        usage_type="volume", usage_id="/images/luks.img", description="Pass phrase of a disk", private=True
    ),
    "vtpm": SecretDefinition(usage_type="vtpm", usage_id="VTPM_example"),
}


def test_every_document_has_its_record() -> None:
    assert sorted(EXPECTED) == SECRETS


@pytest.mark.parametrize("name", EXPECTED)
def test_document(name: str) -> None:
    assert parse_secret(document("secrets", name)) == EXPECTED[name]


def test_a_value_is_never_read() -> None:
    """libvirt writes none; a document that has one all the same leaves no trace of it."""
    assert "never" in document("secrets", "odd")
    assert "never" not in repr(parse_secret(document("secrets", "odd")))

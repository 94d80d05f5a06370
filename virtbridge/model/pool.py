"""Storage pool definitions: what libvirt's XML says about one storage pool.

Pure: pool_xml does the parsing. Source: libvirt storage XML, https://libvirt.org/formatstorage.html
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolDefinition:
    """The sizes are the last that libvirt has: from the pool's latest refresh, and from what was done to
    volumes since.

    source_hosts: address or address:port. source_adapter: scsi_host and its like, or the HBA's WWNN:WWPN.
    auth_secret: the secret's UUID, or its usage id. target_mode: in octal, as in 0711; target_owner,
    target_group: numbers, empty when the XML has none.
    """

    type: str = ""
    capacity_bytes: int = 0
    allocation_bytes: int = 0
    available_bytes: int = 0
    source_name: str = ""
    source_hosts: tuple[str, ...] = ()
    source_devices: tuple[str, ...] = ()
    source_directory: str = ""
    source_adapter: str = ""
    source_format: str = ""
    source_initiator: str = ""
    source_vendor: str = ""
    source_product: str = ""
    auth_type: str = ""
    auth_username: str = ""
    auth_secret: str = ""
    target_path: str = ""
    target_mode: str = ""
    target_owner: str = ""
    target_group: str = ""
    target_label: str = ""


NO_POOL_DEFINITION = PoolDefinition()

"""Rights: what the contract's `org.virtbridge1.Access` may state, and what each is worth in libvirt's terms.

libvirt's own access control asks for about a hundred permissions; we ask polkit for a handful of actions,
one for each right. One table says which right stands for which permission, so that nobody gets through this
service what libvirt would refuse him. The contract states for each member the calls that libvirt gets and
their permissions (permissions.py), and a test compares the right that it states with this table.

Source of the permissions: src/access/viraccessperm.h of libvirt, and org.libvirt.api.policy made from it.
Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Final

# The names of the actions begin with it. They are the service's, whichever API a caller uses.
_ACTIONS: Final = "org.virtbridge1."

READ: Final = "read"
CONTROL: Final = "control"
CONFIGURE: Final = "configure"
DELETE: Final = "delete"
READ_SECRETS: Final = "read-secrets"
CONSOLE: Final = "console"
CONNECTIONS: Final = "connections"

# In the order in which polkit is asked when an operation needs several.
RIGHTS: Final = (CONNECTIONS, CONFIGURE, DELETE, READ_SECRETS, CONSOLE, CONTROL, READ)

# A right that includes others, as polkit's annotation `imply` in the actions file says too: whoever may
# define a domain may define it with whatever starting it would do.
INCLUDED: Mapping[str, frozenset[str]] = {
    **{right: frozenset({READ}) for right in RIGHTS if right != READ},
    CONFIGURE: frozenset({READ, CONTROL}),
}

# By the object that libvirt's access control has a permission of.
_PERMISSIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "connect": {
        READ: (
            "getattr", "read", "search_domains", "search_interfaces", "search_networks",
            "search_node_devices", "search_nwfilter_bindings", "search_nwfilters", "search_secrets",
            "search_storage_pools",
        ),
        CONFIGURE: ("detect_storage_pools", "interface_transaction", "pm_control", "write"),
    },
    "domain": {
        READ: ("getattr", "read"),
        CONTROL: (
            "fs_freeze", "fs_trim", "hibernate", "init_control", "inject_nmi", "pm_control", "reset",
            "send_signal", "set_time", "start", "stop", "suspend",
        ),
        CONFIGURE: (
            "block_write", "checkpoint", "core_dump", "migrate", "open_namespace", "save", "set_password",
            "snapshot", "write",
        ),
        DELETE: ("delete",),
        READ_SECRETS: ("block_read", "mem_read", "read_secure"),
        CONSOLE: ("open_device", "open_graphics", "screenshot", "send_input"),
    },
    "interface": {
        READ: ("getattr", "read"),
        CONTROL: ("start", "stop"),
        CONFIGURE: ("save", "write"),
        DELETE: ("delete",),
    },
    "network": {
        READ: ("getattr", "read", "search_ports"),
        CONTROL: ("start", "stop"),
        CONFIGURE: ("save", "write"),
        DELETE: ("delete",),
    },
    "network_port": {
        READ: ("getattr", "read"),
        CONFIGURE: ("create", "delete", "write"),
    },
    "node_device": {
        READ: ("getattr", "read"),
        CONTROL: ("start", "stop"),
        CONFIGURE: ("detach", "write"),
        DELETE: ("delete",),
    },
    "nwfilter": {
        READ: ("getattr", "read"),
        CONFIGURE: ("save", "write"),
        DELETE: ("delete",),
    },
    "nwfilter_binding": {
        READ: ("getattr", "read"),
        CONFIGURE: ("create",),
        DELETE: ("delete",),
    },
    "secret": {
        READ: ("getattr", "read"),
        CONFIGURE: ("save", "write"),
        DELETE: ("delete",),
        READ_SECRETS: ("read_secure",),
    },
    "storage_pool": {
        READ: ("getattr", "read", "search_storage_vols"),
        CONTROL: ("refresh", "start", "stop"),
        CONFIGURE: ("format", "save", "write"),
        DELETE: ("delete",),
    },
    "storage_vol": {
        READ: ("getattr", "read"),
        CONFIGURE: ("create", "data_write", "resize"),
        DELETE: ("delete", "format"),
        READ_SECRETS: ("data_read",),
    },
}  # fmt: skip

RIGHT_OF: Mapping[str, str] = {
    "none": READ,  # libvirt asks for nothing
    **{
        f"{kind}:{permission}": right
        for kind, rights in _PERMISSIONS.items()
        for right, permissions in rights.items()
        for permission in permissions
    },
}

# Where a permission of libvirt's covers a call that is worth less or more than the others that need it.
RIGHT_OF_CALL: Mapping[tuple[str, str], str] = {
    # libvirt asks for it because of an emulator's path, which is an option with a right of its own.
    ("virConnectGetDomainCapabilities", "connect:write"): READ,
    # Questions to the agent in a guest change and disturb that guest alone, and reach nothing on the host.
    # Passwords and keys of a guest's users are not among them: with these one gets into the guest.
    **{
        (f"virDomain{call}", "domain:write"): CONTROL
        for call in (
            "AgentSetResponseTimeout", "AuthorizedSSHKeysGet", "GetGuestInfo", "GetGuestVcpus",
            "GetHostname", "GetTime", "InterfaceAddresses", "SetGuestVcpus",
        )
    },
    # What was saved in them, or was in the devices that a pool is made of, is lost.
    ("virDomainCheckpointDelete", "domain:checkpoint"): DELETE,
    ("virDomainSnapshotDelete", "domain:snapshot"): DELETE,
    ("virStoragePoolBuild", "storage_pool:format"): DELETE,
    ("virStoragePoolDelete", "storage_pool:format"): DELETE,
}  # fmt: skip


def action_of(right: str) -> str:
    """polkit's name of it, in the actions file."""
    return _ACTIONS + right


def fewest(rights: Iterable[str]) -> tuple[str, ...]:
    """Those that are not included in another of them, in the order of RIGHTS; an unknown right comes first,
    as polkit knows no such action and refuses it.
    """
    needed = set(rights)
    left = needed - {each for right in needed for each in INCLUDED.get(right, ())}
    return (*sorted(left - set(RIGHTS)), *(right for right in RIGHTS if right in left))


def rights_of_calls(calls: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """What a caller needs for these calls of libvirt, each with its permissions. Raises KeyError for a
    permission that the table does not have.
    """
    return fewest(
        RIGHT_OF_CALL.get((call, permission)) or RIGHT_OF[permission]
        for call, asked in calls.items()
        for permission in asked
    )

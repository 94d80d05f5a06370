"""The one table from libvirt's error codes to the kinds of error that clients know.

A code that the table does not name is ErrorKind.LIBVIRT. Source: virErrorNumber in libvirt/virterror.h.
"""

import libvirt

from virtbridge.errors import BridgeError, ErrorKind, shortage
from virtbridge.source.calls.uris import public_text

_CODES: dict[ErrorKind, tuple[str, ...]] = {
    ErrorKind.NO_SUCH_OBJECT: (
        "NO_DOMAIN", "NO_NETWORK", "NO_STORAGE_POOL", "NO_STORAGE_VOL", "NO_NODE_DEVICE", "NO_INTERFACE",
        "NO_NWFILTER", "NO_NWFILTER_BINDING", "NO_SECRET", "NO_DOMAIN_SNAPSHOT", "NO_DOMAIN_CHECKPOINT",
        "NO_DOMAIN_METADATA", "NO_DOMAIN_BACKUP", "NO_NETWORK_PORT", "NO_NETWORK_METADATA", "DEVICE_MISSING",
        "NO_SERVER", "NO_CLIENT",
    ),
    ErrorKind.INVALID_ARGUMENT: (
        "INVALID_ARG", "INVALID_MAC", "INVALID_DOMAIN", "INVALID_NETWORK", "INVALID_STORAGE_POOL",
        "INVALID_STORAGE_VOL", "INVALID_NODE_DEVICE", "INVALID_INTERFACE",
        "INVALID_NWFILTER", "INVALID_NWFILTER_BINDING", "INVALID_SECRET", "INVALID_DOMAIN_SNAPSHOT",
        "INVALID_DOMAIN_CHECKPOINT", "INVALID_NETWORK_PORT", "INVALID_STREAM", "OVERFLOW", "MULTIPLE_DOMAINS",
        "MULTIPLE_INTERFACES",
    ),
    ErrorKind.INVALID_XML: (
        "XML_ERROR", "XML_DETAIL", "XML_INVALID_SCHEMA", "PARSE_FAILED", "OS_TYPE", "NO_NAME",
    ),
    ErrorKind.ALREADY_EXISTS: ("DOM_EXIST", "NETWORK_EXIST", "STORAGE_VOL_EXIST", "NETWORK_PORT_EXIST"),
    ErrorKind.NOT_SUPPORTED: (
        "NO_SUPPORT", "OPERATION_UNSUPPORTED", "ARGUMENT_UNSUPPORTED", "CONFIG_UNSUPPORTED",
    ),
    ErrorKind.OPERATION_INVALID: (
        "OPERATION_INVALID", "SNAPSHOT_REVERT_RISKY", "MIGRATE_UNSAFE", "BLOCK_COPY_ACTIVE",
    ),
    ErrorKind.OPERATION_FAILED: (
        "OPERATION_FAILED", "SYSTEM_ERROR", "AGENT_UNRESPONSIVE", "AGENT_UNSYNCED", "AGENT_COMMAND_FAILED",
        "HOOK_SCRIPT_FAILED", "MIGRATE_PERSIST_FAILED", "CPU_INCOMPATIBLE", "BUILD_FIREWALL",
        "STORAGE_PROBE_FAILED", "STORAGE_POOL_BUILT", "CHECKPOINT_INCONSISTENT",
    ),
    ErrorKind.BUSY: ("RESOURCE_BUSY",),
    ErrorKind.TIMEOUT: ("OPERATION_TIMEOUT", "AGENT_COMMAND_TIMEOUT"),
    ErrorKind.NOT_CONNECTED: ("NO_CONNECT", "INVALID_CONN", "UNKNOWN_HOST", "SSH", "LIBSSH", "GNUTLS_ERROR"),
    ErrorKind.NOT_AUTHORIZED: (
        "OPERATION_DENIED", "ACCESS_DENIED", "AUTH_FAILED", "AUTH_CANCELLED", "AUTH_UNAVAILABLE",
    ),
    ErrorKind.CANCELLED: ("OPERATION_ABORTED",),
}  # fmt: skip

KIND_BY_CODE: dict[int, ErrorKind] = {
    getattr(libvirt, f"VIR_ERR_{name}"): kind
    for kind, names in _CODES.items()
    for name in names
    if hasattr(libvirt, f"VIR_ERR_{name}")  # an older libvirt does not have every name
}

# A broken connection can show as any of these codes. Only for them it is worth calling isAlive().
MAYBE_LOST = frozenset(
    {
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_GNUTLS_ERROR,
        libvirt.VIR_ERR_SSH,
        libvirt.VIR_ERR_LIBSSH,
    }
)

_UNSUPPORTED = frozenset({libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED})


def bridge_error(error: Exception) -> BridgeError:
    """Turn any failure of a libvirt call into an error for clients. It keeps libvirt's text and code."""
    if isinstance(error, BridgeError):
        return error
    if not isinstance(error, libvirt.libvirtError):
        return shortage(error) or BridgeError(ErrorKind.OPERATION_FAILED, f"{type(error).__name__}: {error}")
    code = error.get_error_code() or 0
    text = public_text(error.get_error_message() or str(error))
    return BridgeError(KIND_BY_CODE.get(code, ErrorKind.LIBVIRT), text, code)


def is_unsupported(error: BridgeError) -> bool:
    """Return whether the driver lacks the function, as opposed to having it and failing."""
    return error.code in _UNSUPPORTED


def not_connected(text: str) -> BridgeError:
    return BridgeError(ErrorKind.NOT_CONNECTED, text)


def problem_of(error: Exception) -> str:
    """Say why a definition could not be read. The definition's own text is not in the result."""
    if isinstance(error, UnicodeError):
        return "invalid xml: it is not UTF-8"
    kind = error.kind if isinstance(error, BridgeError) else ErrorKind.INVALID_XML
    return f"{kind.name.lower().replace('_', ' ')}: {error}"

"""Node device definitions: what libvirt's XML says about one device of the host.

The dataclasses of capabilities are the contract's dictionaries: their fields, in order, are the keys that
dbus/org.virtbridge1.NodeDevice.xml documents under their type, with `_` for `-`. A capability inside another
(fc_host, mdev_types, virt_functions, 80211, …) adds to the outer one's fields. Numbers that may be absent and
of which 0 means something are text, empty when absent. Pure: nodedev_xml does the parsing.
Source: libvirt node device XML, https://libvirt.org/formatnode.html
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MdevType:
    """A mediated device type that the parent can make."""

    id: str = ""
    name: str = ""
    device_api: str = ""
    available_instances: int = 0


@dataclass(frozen=True, slots=True)
class System:
    """The host itself, as its firmware describes it."""

    type: str = "system"
    product: str = ""
    vendor: str = ""
    version: str = ""
    serial: str = ""
    uuid: str = ""
    firmware_vendor: str = ""
    firmware_version: str = ""
    firmware_date: str = ""


@dataclass(frozen=True, slots=True)
class Pci:
    """Addresses as in 0000:03:00.0. *_id: as in 0x8086."""

    type: str = "pci"
    address: str = ""
    class_id: str = ""
    vendor_id: str = ""
    vendor: str = ""
    product_id: str = ""
    product: str = ""
    numa_node: str = ""
    iommu_group: str = ""
    iommu_devices: tuple[str, ...] = ()
    physical_function: str = ""
    virtual_functions: tuple[str, ...] = ()
    virtual_functions_maximum: int = 0
    bridge: str = ""
    express: bool = False
    link_speed: str = ""
    link_width: int = 0
    vpd_name: str = ""
    mdev_types: tuple[MdevType, ...] = ()


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A USB device. bus, device: as lsusb shows them."""

    type: str = "usb_device"
    bus: int = 0
    device: int = 0
    vendor_id: str = ""
    vendor: str = ""
    product_id: str = ""
    product: str = ""


@dataclass(frozen=True, slots=True)
class UsbInterface:
    """One interface of a USB device."""

    type: str = "usb"
    number: int = 0
    class_id: int = 0
    subclass_id: int = 0
    protocol: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Net:
    """mac: lower case. link_speed_mbps: 0 when the device does not report it."""

    type: str = "net"
    interface: str = ""
    mac: str = ""
    link_type: str = ""
    link_state: str = ""
    link_speed_mbps: int = 0
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Storage:
    """size: of the device, or of the medium in it; in bytes."""

    type: str = "storage"
    block: str = ""
    bus: str = ""
    drive_type: str = ""
    vendor: str = ""
    model: str = ""
    serial: str = ""
    size: int = 0
    block_size: int = 0
    hotpluggable: bool = False
    removable: bool = False
    media_available: bool = False
    media_label: str = ""


@dataclass(frozen=True, slots=True)
class ScsiHost:
    """A SCSI host adapter."""

    type: str = "scsi_host"
    host: int = 0
    unique_id: str = ""
    wwnn: str = ""
    wwpn: str = ""
    fabric_wwn: str = ""
    vport_ops: bool = False
    vports: int = 0
    vports_maximum: int = 0


@dataclass(frozen=True, slots=True)
class ScsiTarget:
    """A SCSI target."""

    type: str = "scsi_target"
    target: str = ""
    rport: str = ""
    wwpn: str = ""


@dataclass(frozen=True, slots=True)
class Scsi:
    """kind: the XML's type of the device: disk, cdrom, tape."""

    type: str = "scsi"
    host: int = 0
    bus: int = 0
    target: int = 0
    lun: int = 0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class CharacterDevice:
    """scsi_generic, vdpa: a device node is all there is."""

    type: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Drm:
    """A node of the Direct Rendering Manager. kind: primary, control or render."""

    type: str = "drm"
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Mdev:
    """attributes: name=value."""

    type: str = "mdev"
    mdev_type: str = ""
    uuid: str = ""
    parent_address: str = ""
    iommu_group: str = ""
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Channel:
    """ccw, css: address as in 0.0.1234."""

    type: str = ""
    address: str = ""
    channel_address: str = ""
    mdev_types: tuple[MdevType, ...] = ()


@dataclass(frozen=True, slots=True)
class AdjunctProcessor:
    """ap_card, ap_queue, ap_matrix: as in 0x05."""

    type: str = ""
    adapter: str = ""
    domain: str = ""
    mdev_types: tuple[MdevType, ...] = ()


@dataclass(frozen=True, slots=True)
class OtherCapability:
    """What a newer libvirt adds: its name, at least."""

    type: str = ""


Capability = (
    System
    | Pci
    | UsbDevice
    | UsbInterface
    | Net
    | Storage
    | ScsiHost
    | ScsiTarget
    | Scsi
    | CharacterDevice
    | Drm
    | Mdev
    | Channel
    | AdjunctProcessor
    | OtherCapability
)


@dataclass(frozen=True, slots=True)
class NodeDeviceDefinition:
    """parent: a device's name. path: in sysfs. capabilities: types, those inside others too, each once."""

    parent: str = ""
    path: str = ""
    driver: str = ""
    device_node: str = ""
    device_links: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    details: tuple[Capability, ...] = ()


NO_NODE_DEVICE_DEFINITION = NodeDeviceDefinition()

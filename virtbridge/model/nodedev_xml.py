"""Node device XML to a NodeDeviceDefinition: one function for each type of capability, found in one table.

As with domains, what is unknown is ignored and odd values never raise. Pure. Threads: any.
Source: https://libvirt.org/formatnode.html, virNodeDeviceGetXMLDesc(), virNodeDevCapType in libvirt.
"""

from collections.abc import Callable, Iterator, Mapping

from virtbridge.model.addresses import parse_address
from virtbridge.model.macs import shown_mac
from virtbridge.model.nodedev import (
    AdjunctProcessor,
    Capability,
    Channel,
    CharacterDevice,
    Drm,
    Mdev,
    MdevType,
    Net,
    NodeDeviceDefinition,
    OtherCapability,
    Pci,
    Scsi,
    ScsiHost,
    ScsiTarget,
    Storage,
    System,
    UsbDevice,
    UsbInterface,
)
from virtbridge.model.units import UINT32_MAX, memory_bytes, whole_number
from virtbridge.model.xml import Element, attribute, child, children, number, parse_root, text

_SPEED_UNKNOWN = UINT32_MAX  # the kernel's -1, which libvirt passes on unsigned

Parts = Mapping[str, Element]


def parse_node_device(xml: str) -> NodeDeviceDefinition:
    """Read device XML as virNodeDeviceGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    root = parse_root(xml, "device")
    parts = children(root)
    nodes = [(node.get("type", ""), text(node)) for node in root.iterchildren("devnode")]
    driver = parts.get("driver")
    return NodeDeviceDefinition(
        parent=text(parts.get("parent")),
        path=text(parts.get("path")),
        driver=text(child(driver, "name")) if driver is not None else "",
        device_node=next((path for kind, path in nodes if kind == "dev"), ""),
        device_links=tuple(path for kind, path in nodes if kind == "link"),
        capabilities=tuple(dict.fromkeys(filter(None, _types(root)))),
        details=tuple(_capability(each) for each in root.iterchildren("capability")),
    )


def _types(element: Element) -> Iterator[str]:
    """Return the capabilities' types, outer before inner."""
    for capability in element.iterchildren("capability"):
        yield capability.get("type", "")
        yield from _types(capability)


def _capability(element: Element) -> Capability:
    kind = element.get("type", "")
    decode = _DECODERS.get(kind)
    inner = {each.get("type", ""): each for each in element.iterchildren("capability")}
    return decode(element, children(element), inner) if decode else OtherCapability(kind)


def _system(_element: Element, parts: Parts, _inner: Parts) -> System:
    hardware = _inside(parts.get("hardware"))
    firmware = _inside(parts.get("firmware"))
    return System(
        product=text(parts.get("product")),
        vendor=text(hardware.get("vendor")),
        version=text(hardware.get("version")),
        serial=text(hardware.get("serial")),
        uuid=text(hardware.get("uuid")),
        firmware_vendor=text(firmware.get("vendor")),
        firmware_version=text(firmware.get("version")),
        firmware_date=text(firmware.get("release_date")),
    )


def _pci(_element: Element, parts: Parts, inner: Parts) -> Pci:
    group, express = parts.get("iommuGroup"), parts.get("pci-express")
    physical, virtual = inner.get("phys_function"), inner.get("virt_functions")
    bridge = next((kind for kind in ("pci-bridge", "cardbus-bridge") if kind in inner), "")
    link = _link(express)
    return Pci(
        address=_pci_parts(parts),
        class_id=text(parts.get("class")),
        vendor_id=attribute(parts.get("vendor"), "id"),
        vendor=text(parts.get("vendor")),
        product_id=attribute(parts.get("product"), "id"),
        product=text(parts.get("product")),
        numa_node=attribute(parts.get("numa"), "node"),
        iommu_group=attribute(group, "number"),
        iommu_devices=_addresses(group),
        physical_function=next(iter(_addresses(physical)), ""),
        virtual_functions=_addresses(virtual),
        virtual_functions_maximum=number(virtual, "maxCount"),
        bridge=bridge,
        express=express is not None,
        link_speed=attribute(link, "speed"),
        link_width=number(link, "width"),
        vpd_name=_vpd_name(inner.get("vpd")),
        mdev_types=_mdev_types(inner.get("mdev_types")),
    )


def _pci_parts(parts: Parts) -> str:
    """Return the address that stands as four decimal elements."""
    numbers = [whole_number(text(parts.get(tag))) for tag in ("domain", "bus", "slot", "function")]
    known = [each for each in numbers if each is not None]
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*known) if len(known) == 4 else ""


def _addresses(element: Element | None) -> tuple[str, ...]:
    if element is None:
        return ()
    found = (parse_address(each, "pci").pci for each in element.iterchildren("address"))
    return tuple(filter(None, found))


def _link(express: Element | None) -> Element | None:
    """Return what the slot and the card agreed on, or what the card could do where the XML has no more."""
    if express is None:
        return None
    links = {link.get("validity", ""): link for link in express.iterchildren("link")}
    return links.get("sta", links.get("cap"))


def _vpd_name(vpd: Element | None) -> str:
    return text(child(vpd, "name")) if vpd is not None else ""


def _mdev_types(element: Element | None) -> tuple[MdevType, ...]:
    found = []
    for each in element.iterchildren("type") if element is not None else ():
        parts = children(each)
        found.append(
            MdevType(
                id=each.get("id", ""),
                name=text(parts.get("name")),
                device_api=text(parts.get("deviceAPI")),
                available_instances=_number(parts, "availableInstances"),
            )
        )
    return tuple(found)


def _usb_device(_element: Element, parts: Parts, _inner: Parts) -> UsbDevice:
    return UsbDevice(
        bus=_number(parts, "bus"),
        device=_number(parts, "device"),
        vendor_id=attribute(parts.get("vendor"), "id"),
        vendor=text(parts.get("vendor")),
        product_id=attribute(parts.get("product"), "id"),
        product=text(parts.get("product")),
    )


def _usb_interface(_element: Element, parts: Parts, _inner: Parts) -> UsbInterface:
    return UsbInterface(
        number=_number(parts, "number"),
        class_id=_number(parts, "class"),
        subclass_id=_number(parts, "subclass"),
        protocol=_number(parts, "protocol"),
        description=text(parts.get("description")),
    )


def _net(element: Element, parts: Parts, inner: Parts) -> Net:
    link = parts.get("link")
    speed = number(link, "speed")
    return Net(
        interface=text(parts.get("interface")),
        mac=shown_mac(text(parts.get("address"))),
        link_type=next((kind for kind in ("80203", "80211") if kind in inner), ""),
        link_state=attribute(link, "state"),
        link_speed_mbps=0 if speed == _SPEED_UNKNOWN else speed,
        features=tuple(each.get("name", "") for each in element.iterchildren("feature")),
    )


def _storage(_element: Element, parts: Parts, inner: Parts) -> Storage:
    removable = inner.get("removable")
    medium = _inside(removable)
    return Storage(
        block=text(parts.get("block")),
        bus=text(parts.get("bus")),
        drive_type=text(parts.get("drive_type")),
        vendor=text(parts.get("vendor")),
        model=text(parts.get("model")),
        serial=text(parts.get("serial")),
        size=_size(parts.get("size")) or _size(medium.get("media_size")),
        block_size=_number(parts, "logical_block_size") or _number(medium, "logical_block_size"),
        hotpluggable="hotpluggable" in inner,
        removable=removable is not None,
        media_available=removable is None or text(medium.get("media_available")) == "1",
        media_label=text(medium.get("media_label")),
    )


def _size(element: Element | None) -> int:
    return memory_bytes(text(element), "bytes") or 0


def _scsi_host(_element: Element, parts: Parts, inner: Parts) -> ScsiHost:
    fibre, vports = _inside(inner.get("fc_host")), inner.get("vport_ops")
    counts = _inside(vports)
    return ScsiHost(
        host=_number(parts, "host"),
        unique_id=text(parts.get("unique_id")),
        wwnn=text(fibre.get("wwnn")),
        wwpn=text(fibre.get("wwpn")),
        fabric_wwn=text(fibre.get("fabric_wwn")),
        vport_ops=vports is not None,
        vports=_number(counts, "vports"),
        vports_maximum=_number(counts, "max_vports"),
    )


def _scsi_target(_element: Element, parts: Parts, inner: Parts) -> ScsiTarget:
    remote = _inside(inner.get("fc_remote_port"))
    return ScsiTarget(
        target=text(parts.get("target")),
        rport=text(remote.get("rport")),
        wwpn=text(remote.get("wwpn")),
    )


def _scsi(_element: Element, parts: Parts, _inner: Parts) -> Scsi:
    host, bus, target, lun = (_number(parts, tag) for tag in ("host", "bus", "target", "lun"))
    return Scsi(host=host, bus=bus, target=target, lun=lun, kind=text(parts.get("type")))


def _scsi_generic(_element: Element, parts: Parts, _inner: Parts) -> CharacterDevice:
    return CharacterDevice("scsi_generic", text(parts.get("char")))


def _vdpa(_element: Element, parts: Parts, _inner: Parts) -> CharacterDevice:
    return CharacterDevice("vdpa", text(parts.get("chardev")))


def _drm(_element: Element, parts: Parts, _inner: Parts) -> Drm:
    return Drm(kind=text(parts.get("type")))


def _mdev(element: Element, parts: Parts, _inner: Parts) -> Mdev:
    return Mdev(
        mdev_type=attribute(parts.get("type"), "id"),
        uuid=text(parts.get("uuid")),
        parent_address=text(parts.get("parent_addr")),
        iommu_group=attribute(parts.get("iommuGroup"), "number"),
        attributes=tuple(
            f"{each.get('name', '')}={each.get('value', '')}" for each in element.iterchildren("attr")
        ),
    )


def _channel(element: Element, parts: Parts, inner: Parts) -> Channel:
    return Channel(
        type=element.get("type", ""),
        address=_channel_address(parts),
        channel_address=_channel_address(_inside(parts.get("channel_dev_addr"))),
        mdev_types=_mdev_types(inner.get("mdev_types")),
    )


def _channel_address(parts: Parts) -> str:
    """Return cssid.ssid.devno, as Linux writes it: all hexadecimal, which libvirt marks with 0x."""
    values = [text(parts.get(tag)).removeprefix("0x") for tag in ("cssid", "ssid", "devno")]
    return ".".join(values) if all(values) else ""


def _adjunct_processor(element: Element, parts: Parts, inner: Parts) -> AdjunctProcessor:
    return AdjunctProcessor(
        type=element.get("type", ""),
        adapter=text(parts.get("ap-adapter")),
        domain=text(parts.get("ap-domain")),
        mdev_types=_mdev_types(inner.get("mdev_types")),
    )


def _inside(element: Element | None) -> Parts:
    return children(element) if element is not None else {}


def _number(parts: Parts, tag: str) -> int:
    return whole_number(text(parts.get(tag))) or 0


_DECODERS: Mapping[str, Callable[[Element, Parts, Parts], Capability]] = {
    "system": _system,
    "pci": _pci,
    "usb_device": _usb_device,
    "usb": _usb_interface,
    "net": _net,
    "storage": _storage,
    "scsi_host": _scsi_host,
    "scsi_target": _scsi_target,
    "scsi": _scsi,
    "scsi_generic": _scsi_generic,
    "vdpa": _vdpa,
    "drm": _drm,
    "mdev": _mdev,
    "ccw": _channel,
    "css": _channel,
    "ap_card": _adjunct_processor,
    "ap_queue": _adjunct_processor,
    "ap_matrix": _adjunct_processor,
}

"""Every document in tests/data/domains, and the whole record it makes."""

import pytest

from tests.data import DOMAINS, domain_xml
from virtbridge.model.disk_sources import backing_sources, disk_sources
from virtbridge.model.domain import (
    Disk,
    DomainDefinition,
    Filesystem,
    Graphics,
    HostDevice,
    Interface,
)
from virtbridge.model.domain_xml import parse_domain
from virtbridge.model.xml import BadXml

KIB, MIB, GIB = 2**10, 2**20, 2**30

# Fields that are not named are empty: the dataclasses' defaults.
EXPECTED = {
    "minimal": DomainDefinition(
        type="test",
        os_type="hvm",
        memory_maximum_bytes=8 * MIB,
        memory_current_bytes=8 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
    ),
    "test-driver": DomainDefinition(
        title="Größe 測試",
        description="two\nlines & an entity <!DOCTYPE>",
        type="test",
        os_type="hvm",
        arch="i686",
        memory_maximum_bytes=8 * GIB,
        memory_current_bytes=2 * GIB,
        vcpus_maximum=2,
        vcpus_current=2,
    ),
    "uefi-running": DomainDefinition(
        title="Web server",
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="pc-q35-7.2",
        firmware="efi",
        memory_maximum_bytes=4 * GIB,
        memory_current_bytes=4 * GIB,
        vcpus_maximum=4,
        vcpus_current=2,
        disks=(
            Disk(
                device="disk",
                type="file",
                target="vda",
                bus="virtio",
                source="/var/lib/libvirt/images/web-01.qcow2",
                format="qcow2",
                cache="none",
                serial="WEB01-ROOT",
                alias="virtio-disk0",
                boot_order=1,
            ),
            Disk(
                device="cdrom",
                type="file",
                target="sda",
                bus="sata",
                alias="sata0-0-0",
                boot_order=2,
                read_only=True,
                tray_open=True,
            ),
        ),
        interfaces=(
            Interface(
                type="network",
                mac="52:54:00:6b:3c:58",
                model="virtio",
                target="vnet0",
                alias="net0",
                source="default",
                network="default",
                port_id="5a7c0f8b-6d7e-4a8c-a9c2-7b1d2a0f1e11",
                bridge="virbr0",
            ),
        ),
        graphics=(
            Graphics(type="spice", listen_type="address", address="127.0.0.1", port=5900, autoport=True),
        ),
        agent_connected=True,
    ),
    "numa-hugepages": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="q35",
        firmware="efi",
        memory_maximum_bytes=64 * GIB,
        memory_current_bytes=62500000 * KIB,
        vcpus_maximum=32,
        vcpus_current=8,
    ),
    "hostdevs": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="pc-i440fx-7.2",
        firmware="bios",
        memory_maximum_bytes=1 * GIB,
        memory_current_bytes=1 * GIB,
        vcpus_maximum=2,
        vcpus_current=2,
        interfaces=(
            Interface(
                type="hostdev",
                mac="52:54:00:6d:90:02",
                alias="hostdev9",
                source="0000:3b:0a.3",
                address="0000:3b:0a.3",
                vlans=("42",),
            ),
        ),
        host_devices=(
            HostDevice(
                mode="subsystem",
                type="pci",
                managed=True,
                source="0000:3b:02.1",
                address="0000:3b:02.1",
                alias="hostdev0",
                boot_order=3,
            ),
            HostDevice(
                mode="subsystem",
                type="usb",
                source="046d:c52b",
                vendor="0x046d",
                product="0xc52b",
                bus=1,
                device=5,
                alias="hostdev1",
            ),
            HostDevice(mode="subsystem", type="usb", source="2.14", bus=2, device=14),
            HostDevice(
                mode="subsystem",
                type="scsi",
                source="scsi_host4:0:3:7",
                adapter="scsi_host4",
                target=3,
                unit=7,
            ),
            HostDevice(
                mode="subsystem",
                type="scsi",
                source="iscsi://san.example:3260/iqn.1992-01.com.example:storage/1",
                protocol="iscsi",
                name="iqn.1992-01.com.example:storage/1",
                hosts=("san.example:3260",),
            ),
            HostDevice(
                mode="subsystem",
                type="scsi_host",
                source="naa.50014057667280d8",
                protocol="vhost",
                wwpn="naa.50014057667280d8",
            ),
            HostDevice(
                mode="subsystem",
                type="mdev",
                source="c2177883-f1bb-47f0-914d-32a22e3a8804",
                uuid="c2177883-f1bb-47f0-914d-32a22e3a8804",
                model="vfio-pci",
            ),
            HostDevice(mode="subsystem", type="cxl"),
        ),
    ),
    "backing-chains": DomainDefinition(
        type="qemu",
        os_type="hvm",
        arch="x86_64",
        machine="pc-q35-7.2",
        memory_maximum_bytes=512 * MIB,
        memory_current_bytes=512 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
        disks=(
            Disk(
                device="disk",
                type="file",
                target="vda",
                bus="virtio",
                source="/images//chains/./top.qcow2",
                slice_offset=12345,
                slice_size=123,
                format="qcow2",
                cache="writeback",
                wwn="5000c50015ea71ad",
                transient=True,
                backing=("/images/chains/middle.qcow2", "/dev/vg/base", "nbd://Store.example:10809/golden"),
            ),
            Disk(
                device="disk",
                type="file",
                target="vdb",
                bus="virtio",
                source="/images/copying.qcow2",
                format="qcow2",
                mirror="/images/../copies/new.qcow2",
                backing=("gold/debian-12.qcow2",),
            ),
            Disk(
                device="disk",
                type="block",
                target="sda",
                bus="usb",
                source="/dev/disk/by-id/scsi-shared",
                format="raw",
                cache="none",
                shareable=True,
                removable=True,
                mirror="rbd://mon1:6789,mon2:6789/pool/copy",
            ),
            Disk(
                device="lun",
                type="block",
                target="sdb",
                bus="scsi",
                source="/dev/sdh",
                format="raw",
                mirror="/old/style.img",
            ),
            Disk(
                device="floppy",
                type="dir",
                target="fda",
                bus="fdc",
                source="/var/spool/floppy",
                format="fat",
                read_only=True,
            ),
            Disk(
                device="cdrom",
                type="file",
                target="hdc",
                source="/iso/old-libvirt-without-type.iso",
                read_only=True,
            ),
        ),
    ),
    "network-disks": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="aarch64",
        machine="virt",
        memory_maximum_bytes=1953125 * KIB,
        memory_current_bytes=1953125 * KIB,
        vcpus_maximum=2,
        vcpus_current=2,
        disks=(
            Disk(
                device="disk",
                type="network",
                target="vda",
                bus="virtio",
                source="vms/net-root",
                protocol="rbd",
                hosts=("mon1.example:6789", "[2001:DB8::17]:6789", "mon3.example"),
                snapshot="snap",
                config="/etc/ceph/ceph.conf",
                user="libvirt",
                format="raw",
                cache="writeback",
            ),
            Disk(
                device="disk",
                type="network",
                target="vdb",
                bus="virtio",
                source="vms/no-host",
                protocol="rbd",
            ),
            Disk(
                device="disk",
                type="network",
                target="vdc",
                bus="virtio",
                source="export",
                protocol="nbd",
                hosts=("/run/nbd.sock",),
            ),
            Disk(
                device="lun",
                type="network",
                target="sda",
                bus="scsi",
                source="iqn.2013-07.com.example:iscsi-nopool/2",
                protocol="iscsi",
                hosts=("san.example",),
                initiator="iqn.2013-07.com.example:client",
            ),
            Disk(
                device="cdrom",
                type="network",
                target="sdb",
                bus="scsi",
                source="iso/debian.iso",
                protocol="https",
                hosts=("mirror.example:443",),
                query="arch=amd64",
                read_only=True,
            ),
            Disk(
                device="disk",
                type="volume",
                target="vdd",
                bus="virtio",
                pool="default",
                volume="data.qcow2",
                mode="host",
                format="qcow2",
                shareable=True,
            ),
            Disk(
                device="disk",
                type="nvme",
                target="vde",
                bus="virtio",
                source="nvme://0000:01:00.0/1",
                address="0000:01:00.0",
                namespace=1,
                format="raw",
            ),
            Disk(
                device="disk",
                type="vhostuser",
                target="vdf",
                bus="virtio",
                source="/tmp/vhost-blk.sock",
                format="raw",
            ),
            Disk(device="disk", type="vhostvdpa", target="vdg", bus="virtio", source="/dev/vhost-vdpa-0"),
            Disk(device="crystal", type="hologram", target="vdh", bus="virtio"),
        ),
    ),
    "graphics": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="q35",
        memory_maximum_bytes=1 * GIB,
        memory_current_bytes=1 * GIB,
        vcpus_maximum=1,
        vcpus_current=1,
        graphics=(
            Graphics(type="vnc", listen_type="address", address="0.0.0.0", autoport=True, keymap="de"),
            Graphics(type="vnc", listen_type="address", address="::1", port=5904, websocket=5704),
            Graphics(type="vnc", listen_type="socket", socket="/run/vnc.sock"),
            Graphics(
                type="spice",
                listen_type="network",
                address="192.168.7.1",
                network="rednet",
                port=5901,
                tls_port=5902,
                autoport=True,
            ),
            Graphics(type="spice", listen_type="none"),
            Graphics(type="rdp", port=3389),
            Graphics(type="sdl", display=":0.0"),
            Graphics(type="desktop", display=":1"),
            Graphics(type="egl-headless"),
            Graphics(type="dbus", address="unix:path=/run/user/1000/bus"),
            Graphics(type="dbus"),
        ),
    ),
    "interfaces": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="q35",
        memory_maximum_bytes=1 * GIB,
        memory_current_bytes=1 * GIB,
        vcpus_maximum=1,
        vcpus_current=1,
        interfaces=(
            Interface(
                type="network",
                mac="52:54:00:00:00:01",
                model="virtio",
                target="macvtap0",
                alias="ua-net0",
                source="ovs",
                network="ovs",
                port_group="engineering",
                port_id="5a7c0f8b-6d7e-4a8c-a9c2-7b1d2a0f1e12",
                mode="vepa",
                link_down=True,
                boot_order=2,
                mtu=9000,
                filter="clean-traffic",
                vlans=("42", "47"),
            ),
            Interface(type="bridge", mac="52:54:00:00:00:02", target="vnet1", source="br0", bridge="br0"),
            Interface(
                type="direct",
                mac="52:54:00:00:00:03",
                model="e1000e",
                target="macvtap1",
                source="eth0",
                mode="private",
            ),
            Interface(type="user", mac="52:54:00:00:00:04"),
            Interface(type="vhostuser", source="/run/vhost1.sock", mode="server"),
            Interface(type="ethernet", target="mytap"),
            Interface(type="vdpa", source="/dev/vhost-vdpa-0"),
            Interface(type="mcast", source="230.0.0.1:5558"),
            Interface(type="server", source=":5558"),
            Interface(type="udp", source="127.0.0.1:11115", local="127.0.0.1:11116"),
            Interface(type="internal", source="intnet"),
            Interface(
                type="vds",
                source="12345678-1234-1234-1234-123456789abc",
                port_id="6",
                port_group_id="pg-4321",
                connection_id="12",
            ),
            Interface(type="null"),
            Interface(type="from-the-future", mac="not a mac", source="tunnel7"),
        ),
    ),
    "virtiofs-tpm-vsock": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="pc-q35-8.1",
        memory_maximum_bytes=8 * GIB,
        memory_current_bytes=8 * GIB,
        vcpus_maximum=4,
        vcpus_current=4,
        filesystems=(
            Filesystem(
                type="mount",
                driver="virtiofs",
                access_mode="passthrough",
                source="/srv/share",
                target="share",
                alias="fs0",
            ),
            Filesystem(type="mount", driver="virtiofs", source="/run/virtiofsd.sock", target="external"),
            Filesystem(
                type="mount",
                driver="path",
                access_mode="mapped",
                source="/srv/9p",
                target="nine",
                read_only=True,
            ),
            Filesystem(type="mount", source="/srv/plain", target="plain"),
        ),
    ),
    "foreign-metadata": DomainDefinition(
        title="inside",
        type="kvm",
        os_type="hvm",
        arch="s390x",
        machine="s390-ccw-virtio",
        memory_maximum_bytes=1 * GIB,
        memory_current_bytes=512 * MIB,
        vcpus_maximum=2,
        vcpus_current=1,
        disks=(Disk(device="disk", type="file", target="vda", bus="virtio", source="/ours.img"),),
    ),
    "lxc": DomainDefinition(
        type="lxc",
        os_type="exe",
        arch="x86_64",
        memory_maximum_bytes=500000 * KIB,
        memory_current_bytes=500000 * KIB,
        vcpus_maximum=1,
        vcpus_current=1,
        host_devices=(
            HostDevice(mode="capabilities", type="storage", source="/dev/sdf1", block="/dev/sdf1"),
            HostDevice(
                mode="capabilities", type="misc", source="/dev/input/event3", char="/dev/input/event3"
            ),
            HostDevice(mode="capabilities", type="net", source="eth1", interface="eth1"),
        ),
        filesystems=(
            Filesystem(type="mount", access_mode="passthrough", source="/srv/container", target="/"),
            Filesystem(type="template", source="debian", target="/"),
            Filesystem(
                type="file",
                driver="loop",
                access_mode="passthrough",
                source="/guests/myguest.img",
                target="/import/from/file",
                read_only=True,
            ),
            Filesystem(type="block", source="/dev/vg/guest", target="/import/from/block"),
            Filesystem(type="ram", source="10485760", target="/mnt"),
            Filesystem(type="bind", source="/export", target="/import"),
            Filesystem(type="volume", source="guests/root", target="/volume"),
        ),
    ),
    "xen-pv": DomainDefinition(
        type="xen",
        os_type="linux",
        arch="x86_64",
        machine="xenpv",
        memory_maximum_bytes=420 * MIB,
        memory_current_bytes=420 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
        disks=(
            Disk(device="disk", type="block", target="xvda", bus="xen", source="/dev/vg0/pv", format="raw"),
        ),
        interfaces=(
            Interface(
                type="bridge", mac="00:16:3e:1d:06:15", target="vif18.0", source="xenbr0", bridge="xenbr0"
            ),
        ),
        graphics=(Graphics(type="vnc", listen_type="address", address="127.0.0.1", port=5900),),
    ),
    "bhyve": DomainDefinition(
        type="bhyve",
        os_type="hvm",
        firmware="efi",
        memory_maximum_bytes=214 * MIB,
        memory_current_bytes=214 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
        disks=(
            Disk(
                device="disk",
                type="file",
                target="hda",
                bus="sata",
                source="/zroot/vm/freebsd.img",
                format="raw",
            ),
        ),
        interfaces=(Interface(type="bridge", model="virtio", source="virbr0", bridge="virbr0"),),
        graphics=(Graphics(type="vnc", listen_type="address", address="127.0.0.1", port=5904),),
    ),
    "vz": DomainDefinition(
        type="vz",
        os_type="exe",
        arch="x86_64",
        memory_maximum_bytes=2**64 - 1,
        memory_current_bytes=2**64 - 1,
        vcpus_maximum=2**32 - 1,
        vcpus_current=2**32 - 1,
        disks=(
            Disk(device="disk", type="file", target="sda", bus="sata"),
            Disk(device="disk", type="network"),
            Disk(device="disk", type="volume"),
            Disk(device="disk", type="nvme"),
            Disk(device="disk", type="file"),
        ),
        interfaces=(Interface(),),
        graphics=(Graphics(), Graphics(type="vnc", websocket=2**64 - 1)),
        host_devices=(
            HostDevice(mode="subsystem"),
            HostDevice(mode="subsystem", type="pci"),
            HostDevice(mode="subsystem", type="pci"),
            HostDevice(mode="subsystem", type="usb"),
            HostDevice(mode="subsystem", type="scsi"),
            HostDevice(mode="subsystem", type="mdev"),
            HostDevice(mode="subsystem", type="misc"),
        ),
        filesystems=(
            Filesystem(type="file", driver="ploop", source="/vz/private/1/root.hdd", target="/"),
            Filesystem(type="mount"),
        ),
    ),
    "disk-https-query": DomainDefinition(
        type="qemu",
        os_type="hvm",
        arch="x86_64",
        memory_maximum_bytes=16 * MIB,
        memory_current_bytes=16 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
        disks=(
            Disk(
                device="disk",
                type="network",
                target="vda",
                bus="virtio",
                source="/a/b.iso",
                protocol="https",
                hosts=("h.example:443",),
                query="x=1",
            ),
            Disk(
                device="disk",
                type="network",
                target="vdb",
                bus="virtio",
                source="/a/b.iso",
                protocol="https",
                hosts=("h.example:443",),
                query="x=2",
            ),
        ),
    ),
    "disk-sources": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="q35",
        memory_maximum_bytes=1 * GIB,
        memory_current_bytes=1 * GIB,
        vcpus_maximum=1,
        vcpus_current=1,
        disks=(
            Disk(
                device="disk",
                type="network",
                target="vda",
                bus="virtio",
                source="vms/root",
                protocol="rbd",
                hosts=("mon1.example:6789",),
                snapshot="monday",
                config="/etc/ceph/other.conf",
                user="libvirt",
                format="raw",
            ),
            Disk(
                device="disk",
                type="network",
                target="vdb",
                bus="virtio",
                source="/export/a.img",
                protocol="nfs",
                hosts=("nfs.example",),
                user="alice",
                group="+1000",
            ),
            Disk(
                device="disk",
                type="network",
                target="vdc",
                bus="virtio",
                source="/images/a.img",
                protocol="ssh",
                hosts=("[2001:db8::5]:22",),
                user="bob",
            ),
            Disk(
                device="disk",
                type="file",
                target="vdd",
                bus="virtio",
                source="/images/sliced.img",
                slice_offset=4096,
                slice_size=1048576,
                format="qcow2",
                data_store="/images/sliced.data",
                backing=("https://mirror.example/base.iso?part=1&of=2", "rbd:vms/gold@v1"),
            ),
            Disk(
                device="disk",
                type="network",
                target="vde",
                bus="virtio",
                source="eb90327c-8302-4725-9e1b-4e85ed4dc251",
                protocol="vxhs",
                hosts=("192.168.0.1:9999",),
            ),
            Disk(
                device="disk",
                type="nvme",
                target="vdf",
                bus="virtio",
                source="nvme://0001:0a:1f.7/2",
                address="0001:0a:1f.7",
                namespace=2,
            ),
            Disk(device="disk", type="nvme", target="vdg", bus="virtio", namespace=3),
            Disk(
                device="disk",
                type="network",
                target="vdh",
                bus="virtio",
                source="iqn.2013-07.com.example:target/1",
                protocol="iscsi",
                hosts=("san.example:3260",),
                user="old-place",
                initiator="iqn.2013-07.com.example:client",
            ),
        ),
    ),
    "hostdev-addresses": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="q35",
        memory_maximum_bytes=1 * GIB,
        memory_current_bytes=1 * GIB,
        vcpus_maximum=1,
        vcpus_current=1,
        interfaces=(
            Interface(
                type="hostdev",
                mac="52:54:00:6d:90:03",
                source="0bda:8153",
                vendor="0x0bda",
                product="0x8153",
                bus=1,
                device=9,
            ),
            Interface(type="hostdev", mac="52:54:00:6d:90:04", source="0000:05:00.1", address="0000:05:00.1"),
            Interface(type="hostdev", source="fe.1.0001"),
            Interface(type="hostdev", source="3-2", bus=3, port="2"),
            Interface(type="hostdev"),
        ),
        host_devices=(
            HostDevice(
                mode="subsystem", type="pci", managed=True, source="0001:3b:0a.2", address="0001:3b:0a.2"
            ),
            HostDevice(mode="subsystem", type="pci", source="0000:10:08.0", address="0000:10:08.0"),
            HostDevice(mode="subsystem", type="pci", source="fe.0.0a9f"),
            HostDevice(mode="subsystem", type="pci"),
            HostDevice(mode="subsystem", type="usb", source="0bda:8153", vendor="0x0bda", product="0x8153"),
            HostDevice(mode="subsystem", type="usb", source="1.12", bus=1, device=12),
            HostDevice(
                mode="subsystem",
                type="usb",
                source="bda:0001",
                vendor="bda",
                product="0x0001",
                bus=2,
                port="1.4",
            ),
            HostDevice(mode="subsystem", type="usb", source="0000:01:00.0"),
            HostDevice(
                mode="subsystem",
                type="scsi",
                source="scsi_host0:1:0:18446744073709551615",
                bus=1,
                adapter="scsi_host0",
                unit=2**64 - 1,
            ),
            HostDevice(
                mode="subsystem",
                type="scsi",
                source="iscsi://[2001:db8::7]:3260/iqn.1992-01.com.example:storage/1",
                protocol="iscsi",
                name="iqn.1992-01.com.example:storage/1",
                hosts=("[2001:db8::7]:3260",),
                initiator="iqn.1992-01.com.example:client",
            ),
        ),
    ),
    "hostdev-usb-twins": DomainDefinition(
        type="qemu",
        os_type="hvm",
        arch="x86_64",
        memory_maximum_bytes=16 * MIB,
        memory_current_bytes=16 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
        host_devices=(
            HostDevice(
                mode="subsystem",
                type="usb",
                source="1234:5678",
                vendor="0x1234",
                product="0x5678",
                bus=1,
                device=2,
            ),
            HostDevice(
                mode="subsystem",
                type="usb",
                source="1234:5678",
                vendor="0x1234",
                product="0x5678",
                bus=1,
                device=3,
            ),
        ),
    ),
    "interface-hostdev-usb": DomainDefinition(
        type="qemu",
        os_type="hvm",
        arch="x86_64",
        memory_maximum_bytes=16 * MIB,
        memory_current_bytes=16 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
        interfaces=(Interface(type="hostdev", source="1.2", bus=1, device=2),),
    ),
    "interface-sources": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        machine="q35",
        memory_maximum_bytes=1 * GIB,
        memory_current_bytes=1 * GIB,
        vcpus_maximum=1,
        vcpus_current=1,
        interfaces=(
            Interface(
                type="bridge",
                source="virbr7",
                network="lan",
                port_group="staff",
                port_id="9c5ca2cf-0f2c-4b8e-8c1b-2d26d0a5b7d1",
                bridge="virbr7",
            ),
            Interface(type="user", source="eth7"),
            Interface(type="ethernet", target="tap7"),
            Interface(
                type="vhostuser",
                target="vhost-client-1",
                source="/run/openvswitch/vhost-client-1",
                mode="client",
            ),
            Interface(type="vhostuser"),
            Interface(type="client", source="192.168.0.1:5558"),
            Interface(type="server", source="[2001:db8::1]:5558"),
            Interface(type="udp", source="127.0.0.1:11115", local="127.0.0.2:11116"),
            Interface(
                type="vds",
                source="12345678-1234-1234-1234-123456789abc",
                port_id="0",
                port_group_id="pg-4321",
                connection_id="12",
            ),
            Interface(type="from-the-future", source="lan", network="lan"),
        ),
    ),
    "interface-vhostuser-passt": DomainDefinition(
        type="kvm",
        os_type="hvm",
        arch="x86_64",
        memory_maximum_bytes=16 * MIB,
        memory_current_bytes=16 * MIB,
        vcpus_maximum=1,
        vcpus_current=1,
        interfaces=(Interface(type="vhostuser", mac="52:54:00:00:00:01", model="virtio", source="eth42"),),
    ),
}


def test_every_document_has_its_record() -> None:
    assert sorted(EXPECTED) == DOMAINS


@pytest.mark.parametrize("name", EXPECTED)
def test_document(name: str) -> None:
    assert parse_domain(domain_xml(name)) == EXPECTED[name]


def test_no_password_is_kept() -> None:
    assert "never shown" in domain_xml("graphics")
    assert "never shown" not in repr(parse_domain(domain_xml("graphics")))
    assert "never shown" in domain_xml("disk-sources")
    assert "never_shown" in domain_xml("disk-sources")
    for secret in ("never shown", "never_shown"):
        assert secret not in repr(parse_domain(domain_xml("disk-sources")))


def domain(inside: str) -> DomainDefinition:
    return parse_domain(f"<domain type='qemu'><memory>1024</memory>{inside}</domain>")


@pytest.mark.parametrize(
    ("os", "firmware"),
    [
        ("<os/>", ""),
        ("<os firmware='efi'/>", "efi"),
        ("<os firmware='bios'><loader type='pflash'/></os>", "bios"),
        ("<os firmware='coreboot'/>", "coreboot"),
        ("<os><loader readonly='yes' type='pflash'>/x.fd</loader></os>", "efi"),
        ("<os><loader type='rom'>/bios.bin</loader></os>", ""),
        ("<os><loader>/bios.bin</loader></os>", ""),
    ],
)
def test_firmware(os: str, firmware: str) -> None:
    assert domain(os).firmware == firmware


@pytest.mark.parametrize(
    ("vcpu", "maximum", "current"),
    [
        ("", 1, 1),
        ("<vcpu/>", 1, 1),
        ("<vcpu>8</vcpu>", 8, 8),
        ("<vcpu current='2'>8</vcpu>", 8, 2),
        ("<vcpu current='odd'>8</vcpu>", 8, 8),
    ],
)
def test_vcpus(vcpu: str, maximum: int, current: int) -> None:
    definition = domain(vcpu)
    assert (definition.vcpus_maximum, definition.vcpus_current) == (maximum, current)


@pytest.mark.parametrize(
    ("channels", "connected"),
    [
        ("", False),
        ("<channel><target name='org.qemu.guest_agent.0' state='connected'/></channel>", True),
        ("<channel><target name='org.qemu.guest_agent.0' state='disconnected'/></channel>", False),
        ("<channel><target name='org.qemu.guest_agent.0'/></channel>", False),
        ("<channel><target name='com.redhat.spice.0' state='connected'/></channel>", False),
        ("<channel/><channel><target name='org.qemu.guest_agent.0' state='connected'/></channel>", True),
    ],
)
def test_the_agent_is_its_channels_state(channels: str, connected: bool) -> None:
    assert domain(f"<devices>{channels}</devices>").agent_connected is connected


def test_a_deep_backing_chain_is_read_to_libvirts_own_limit() -> None:
    depth = 200
    opened = "".join(f"<backingStore type='file'><source file='/{n}'/>" for n in range(depth))
    chain = opened + "</backingStore>" * depth
    (disk,) = domain(f"<devices><disk type='file'>{chain}</disk></devices>").disks
    assert disk.backing == tuple(f"/{n}" for n in range(depth))


def test_a_qcow2_image_with_its_data_beside_it_uses_both_files() -> None:
    """As libvirt 10.10 writes it."""

    def layer(element: str, file: str, data: str, below: str) -> str:
        store = f"<dataStore type='block'><format type='raw'/><source dev='{data}'/></dataStore>"
        return f"<{element} type='file'><source file='{file}'>{store}</source>{below}</{element}>"

    below = layer("backingStore", "/base.qcow2", "/dev/base", "<backingStore/>")
    (disk,) = domain(f"<devices>{layer('disk', '/top.qcow2', '/dev//top', below)}</devices>").disks
    assert (disk.source, disk.data_store) == ("/top.qcow2", "/dev//top")
    assert disk_sources(disk) == ("/top.qcow2", "/dev/top")
    assert disk.backing == backing_sources(disk) == ("/base.qcow2", "/dev/base")


@pytest.mark.parametrize(
    ("kind", "place", "seen"),
    [
        ("bridge", "bridge='br0'", {"source": "br0", "bridge": "br0"}),
        ("direct", "dev='eth0' mode='bridge'", {"source": "eth0", "mode": "bridge"}),
    ],
)
def test_an_interface_of_a_running_domain_has_its_network_still(
    kind: str, place: str, seen: dict[str, str]
) -> None:
    """libvirt shows the type that the network gave it, as seen of one that forwards to a bridge or device."""
    source = f"<source network='lan' portgroup='staff' portid='x' {place}/>"
    (known,) = domain(f"<devices><interface type='{kind}'>{source}</interface></devices>").interfaces
    assert known == Interface(type=kind, network="lan", port_group="staff", port_id="x", **seen)


@pytest.mark.parametrize(
    ("inside", "element"),
    [
        ("<memory>lots</memory>", "domain/memory"),
        ("<memory/>", "domain/memory"),
        ("<memory unit='ZiB'>1</memory>", "domain/memory"),
        ("<currentMemory>-1</currentMemory>", "domain/currentMemory"),
        ("<vcpu>few</vcpu>", "domain/vcpu"),
    ],
)
def test_what_every_domain_must_have_is_insisted_on(inside: str, element: str) -> None:
    with pytest.raises(BadXml, match=f"^{element}: "):
        domain(inside)

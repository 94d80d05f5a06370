"""Examples of operations: for each row of the table of operations, calls with arguments, and what has to be
true after them.

A story is a sequence of calls on one host: the test driver, or QEMU in a private libvirtd. It leaves the host
as it found it. Jobs have tests of their own, see tests/libvirtd/test_jobs.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from virtbridge.model.keys import Kind

# The test driver with our objects and with its own, and QEMU.
TEST, DEFAULT, QEMU = "test", "default", "qemu"


@dataclass(frozen=True, slots=True)
class Typed:
    """A value of `a{sv}`."""

    type: str
    value: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One call. on: the object, by its kind; an earlier step has made it. arguments: without the options.
    makes: the object whose path is the answer. shows: properties of the object after the call. has: keys of
    the answer with their values. error: the name of the error that is right here.
    """

    on: str
    member: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    makes: str = ""
    shows: Mapping[str, Any] = field(default_factory=dict)
    answer: Any = ...
    has: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def kind(self) -> Kind:
        return Kind(self.on)


@dataclass(frozen=True, slots=True)
class Story:
    """agent: what the guest's agent answers, by its command, where the story needs one."""

    host: str
    steps: tuple[Step, ...]
    agent: Mapping[str, Any] = field(default_factory=dict)


def do(
    on: str,
    member: str,
    *arguments: Any,
    makes: str = "",
    shows: Mapping[str, Any] | None = None,
    answer: Any = ...,
    has: Mapping[str, Any] | None = None,
    error: str = "",
    **options: Any,
) -> Step:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return Step(on, member, arguments, named, makes, shows or {}, answer, has or {}, error)


MIB = 1 << 20


def _domain(name: str, type: str = "test", arch: str = "", devices: str = "", title: str = "") -> str:
    return f"""<domain type='{type}'><name>{name}</name><title>{title}</title><memory unit='MiB'>64</memory>
<vcpu current='1'>2</vcpu><iothreads>1</iothreads><os><type{arch}>hvm</type></os><features><acpi/></features>
<devices>{devices}</devices></domain>"""


def _qemu(name: str, devices: str = "", title: str = "") -> str:
    return _domain(name, "qemu", " arch='x86_64' machine='pc'", devices, title)


def _volume(name: str) -> str:
    return f"""<volume><name>{name}</name><capacity unit='MiB'>4</capacity>
<target><format type='qcow2'/><compat>1.1</compat></target></volume>"""


_POOL = "<pool type='dir'><name>{0}</name><target><path>/var/lib/libvirt/{0}</path></target></pool>"
_NETWORK = """<network><name>{}</name><bridge name='virbr9'/>
<ip address='192.168.99.1' netmask='255.255.255.0'><dhcp>
<range start='192.168.99.10' end='192.168.99.20'/></dhcp></ip></network>"""
_HOST = "<host mac='52:54:00:00:09:01' name='a' ip='192.168.99.11'/>"
_PORT_UUID = "6d1f8b3a-5f8e-4a2a-9b3c-2f0d9c1a7b11"
_OWNER = f"<owner><name>made</name><uuid>{_PORT_UUID}</uuid></owner>"
_PORT = f"""<networkport><uuid>{_PORT_UUID}</uuid>{_OWNER}<mac address='52:54:00:00:09:02'/>
<bandwidth><inbound average='50'/></bandwidth><plug type='network' bridge='virbr9'/></networkport>"""
_BINDING = f"""<filterbinding>{_OWNER}<portdev name='vnet9'/><mac address='52:54:00:00:09:03'/>
<filterref filter='no-cake'/></filterbinding>"""
_FILTER = "<filter name='no-cake'><rule action='{}' direction='in'><ip/></rule></filter>"
_VPORT = """<device><parent>scsi_host1</parent><capability type='scsi_host'>
<capability type='fc_host'>
<wwnn>2000000012341234</wwnn><wwpn>1000000012341234</wwpn></capability></capability></device>"""
_CPU = "<cpu><arch>x86_64</arch><model>qemu64</model></cpu>"
_DISK = """<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='/var/lib/libvirt/disks/d.qcow2'/><target dev='vda' bus='virtio'/></disk>"""
_CARD = "<interface type='user'><mac address='{}'/><model type='virtio'/>{}</interface>"
_FIRST, _SECOND = "52:54:00:00:09:09", "52:54:00:00:09:10"
_NAMED_CARD = _CARD.format(_SECOND, "<alias name='ua-second'/>")
_NO_LABEL = {"label": "", "enforcing": False}
_METADATA = '<a b="1"/>'

# Stands for the agent's devices in a domain's XML.
AGENT = "<!-- agent -->"

_AGENT_NEEDED = tuple(
    do("domain", member, *arguments, error="NotSupported")
    for member, arguments in (
        ("FsFreeze", ()), ("FsThaw", ()), ("FsTrim", ()), ("GetFsInfo", ()), ("GetTime", ()),
        ("GetGuestInfo", ()), ("GetGuestVcpus", ()), ("SetUserPassword", ("root", "secret")),
        ("PmSuspend", ("mem",)),
    )
)  # fmt: skip

STORIES: Mapping[str, Story] = {
    "domain of the test driver": Story(TEST, (
        do("connection", "DefineDomain", _domain("made"), makes="domain", shows={}),
        do("connection", "DefineDomain", "<domain>", error="InvalidXml"),
        do("domain", "SetAutostart", True, shows={"Autostart": True}),
        do("domain", "SetAutostart", False, shows={"Autostart": False}),
        do("domain", "Suspend", error="Libvirt"),
        do("domain", "Start", shows={"State": "running", "Active": True}),
        do("domain", "Start", error="Libvirt"),
        do("domain", "Suspend", shows={"State": "paused"}),
        do("domain", "Resume", shows={"State": "running"}),
        do("domain", "Reset", shows={"State": "running"}),
        do("domain", "Reboot", shows={"State": "running"}),
        do("domain", "SetMemory", 32 * MIB, live=True, shows={"MemoryCurrent": 32 * MIB}),
        do("domain", "SetVcpus", 2, live=True, shows={"VcpusCurrent": 2}),
        do("domain", "PinVcpu", 0, [0]),
        do("domain", "GetVcpuPins", has={"vcpu-0": ["0"]}),
        do("domain", "GetBlkioParameters", has={"weight": 0}),
        do("domain", "SetBlkioParameters", {"weight": Typed("u", 500)}, config=True),
        do("domain", "GetBlkioParameters", config=True, has={"weight": 500}),
        do("domain", "SetMemoryParameters", {"hard_limit": Typed("t", 200_000)}, config=True),
        do("domain", "GetMemoryParameters", config=True, has={"hard_limit": 200_000}),
        do("domain", "GetMessages", answer=[]),
        do("domain", "InjectNmi"),
        do("domain", "SendKeys", [30], hold_time=1),
        do("domain", "SendKeys", [1] * 17, error="LimitExceeded"),
        do("domain", "SendProcessSignal", 1, "hup"),
        do("domain", "SendProcessSignal", 1, "no-such-signal", error="InvalidArgument"),
        do("domain", "SetTime", time=1_700_000_000_000_000),
        do("domain", "GetTime"),
        do("domain", "SetUserPassword", "root", "secret"),
        do("domain", "FsFreeze", mountpoints=["/"]),
        do("domain", "FsThaw"),
        do("domain", "FsTrim"),
        do("domain", "GetFsInfo"),
        do("domain", "GetHostname", answer="madehost"),
        do("domain", "GetControlInfo", has={"state": "ok"}),
        do("domain", "GetInterfaceAddresses", answer=[]),
        do("domain", "Shutdown", shows={"State": "shutoff"}),
        do("domain", "Start", shows={"State": "running"}),
        do("domain", "PowerOff", shows={"State": "shutoff", "Id": -1}),
        do("domain", "Rename", "renamed", shows={"Name": "renamed"}),
        do("domain", "CreateSnapshot", "<domainsnapshot><name>one</name></domainsnapshot>", makes="snapshot",
           shows={"HasSnapshots": True}),
        do("snapshot", "GetXml"),
        do("domain", "Start", shows={"State": "running"}),
        do("snapshot", "Revert", shows={"Current": True}),
        do("domain", "GetXml"),
        do("snapshot", "Delete"),
        do("domain", "RemoveManagedSave", shows={"HasManagedSave": False}),
        do("domain", "Undefine"),
        do("connection", "CreateDomain", _domain("moment"), makes="domain"),
        do("domain", "PowerOff"),
    )),
    "domain of QEMU": Story(QEMU, (
        do("connection", "DefineDomain", _qemu("made"), makes="domain"),
        do("connection", "DefineDomain", _qemu("made").replace("<name>made</name>", ""), error="InvalidXml"),
        do("domain", "Start", paused=True, shows={"State": "paused"}),
        do("domain", "Resume", shows={"State": "running"}),
        do("domain", "Resume", error="OperationInvalid"),
        do("domain", "Suspend", shows={"State": "paused"}),
        do("domain", "Resume", shows={"State": "running"}),
        do("domain", "Reset", shows={"State": "running"}),
        do("domain", "Reboot", shows={"State": "running"}),
        do("domain", "InjectNmi"),
        do("domain", "SendKeys", [28, 29]),
        do("domain", "SetVcpu", [1], True, config=True),
        do("domain", "PinEmulator", [0]),
        do("domain", "GetEmulatorPin", answer=[0]),
        do("domain", "AddIothread", 5),
        do("domain", "PinIothread", 5, [0]),
        do("domain", "GetIothreads", has={"iothread-5": ["0"]}),
        do("domain", "SetIothreadParameters", 5, {"poll_max_ns": Typed("t", 1000)}, live=True),
        do("domain", "RemoveIothread", 5),
        do("domain", "SetNumaParameters", {"numa_nodeset": Typed("s", "0")}, config=True),
        do("domain", "GetNumaParameters", config=True, has={"numa_nodeset": "0"}),
        do("domain", "SetPerfEvents", {"cmt": Typed("b", False)}, config=True),
        do("domain", "GetPerfEvents", config=True, has={"cmt": False}),
        do("domain", "SetMemoryStatsPeriod", 5000),
        do("domain", "SetMetadata", "title", "A title", shows={"Title": "A title"}),
        do("domain", "GetMetadata", "title", answer="A title"),
        do("domain", "SetMetadata", "element", _METADATA, prefix="p", uri="urn:x"),
        do("domain", "GetMetadata", "element", uri="urn:x", answer=_METADATA),
        do("domain", "GetMetadata", "element", uri="urn:y", error="NoSuchObject"),
        do("domain", "SetLifecycleAction", "poweroff", "restart"),
        do("domain", "StartDirtyRateCalculation", 1000),
        do("domain", "GetLaunchSecurityInfo", answer={}),
        do("domain", "SetAgentTimeout", 5),
        do("domain", "GetJobInfo", has={"type": "none"}),
        do("domain", "AbortJob", error="OperationInvalid"),
        do("domain", "GetSchedulerParameters", error="OperationInvalid"),
        do("domain", "SetSchedulerParameters", {"cpu_shares": Typed("t", 1024)}, error="OperationInvalid"),
        do("domain", "GetSecurityLabels", answer=[_NO_LABEL, _NO_LABEL | {"label": "+0:+0"}]),
        do("domain", "SetLaunchSecurityState", {"sev-secret": Typed("s", "x")}, error="NotSupported"),
        do("domain", "PmWakeup", error="Libvirt"),
        *_AGENT_NEEDED,
        do("domain", "Shutdown", shows={"State": "running"}),  # there is no guest that would obey
        do("domain", "PowerOff", graceful=True, shows={"State": "shutoff"}),
        do("domain", "Rename", "renamed", shows={"Name": "renamed"}),
        do("domain", "Undefine", nvram=True),
    )),
    "guest with an agent": Story(QEMU, (
        do("connection", "DefineDomain", _qemu("talks", AGENT), makes="domain"),
        do("domain", "Start", shows={"AgentConnected": True}),
        do("domain", "GetGuestInfo", types=["timezone"], has={"timezone.name": "CET"}),
        do("domain", "GetGuestInfo", types=["weather"], error="InvalidArgument"),
        do("domain", "GetHostname", source="agent", answer="guest"),
        do("domain", "GetTime", answer=1_700_000_000_000_000),
        do("domain", "SetTime", time=1_700_000_000_000_000),
        do("domain", "FsFreeze", answer=None),
        do("domain", "FsThaw", answer=None),
        do("domain", "FsTrim"),
        do("domain", "GetFsInfo", answer=[]),
        do("domain", "GetGuestVcpus", has={"vcpus": "0", "online": "0"}),
        do("domain", "SetGuestVcpus", [0], True),
        do("domain", "SetUserPassword", "root", "secret"),
        do("domain", "GetAuthorizedSshKeys", "root", answer=["ssh-rsa A"]),
        do("domain", "SetAuthorizedSshKeys", "root", ["ssh-rsa A"]),
        do("domain", "SetAuthorizedSshKeys", "root", ["ssh-rsa A"], remove=True, error="Libvirt"),
        do("domain", "PowerOff"),
        do("domain", "Undefine"),
    ), {
        "guest-get-timezone": {"zone": "CET", "offset": 3600},
        "guest-get-host-name": {"host-name": "guest"},
        "guest-get-time": 1_700_000_000_000_000_000,
        "guest-set-time": {},
        "guest-fsfreeze-freeze": 1,
        "guest-fsfreeze-thaw": 1,
        "guest-fstrim": {"paths": []},
        "guest-get-fsinfo": [],
        "guest-get-vcpus": [{"logical-id": 0, "online": True, "can-offline": True}],
        "guest-set-vcpus": 1,
        "guest-set-user-password": {},
        "guest-ssh-get-authorized-keys": {"keys": ["ssh-rsa A"]},
        "guest-ssh-add-authorized-keys": {},
    }),
    "devices of a running QEMU": Story(QEMU, (
        do("connection", "CreateStoragePool", _POOL.format("disks"), build=True, makes="pool",
           shows={}),
        do("pool", "CreateVolume", _volume("d.qcow2"), makes="volume"),
        do("connection", "DefineDomain", _qemu("hot", _DISK + _CARD.format(_FIRST, "")), makes="domain"),
        do("domain", "CreateCheckpoint", "<domaincheckpoint><name>c</name></domaincheckpoint>",
           error="NotSupported"),  # QEMU has to run
        do("domain", "Start", paused=True),
        do("domain", "AttachDevice", _NAMED_CARD, live=True, config=True),
        do("domain", "AttachDevice", _NAMED_CARD, live=True, config=True,
           error="NotSupported"),  # the alias is taken
        do("domain", "UpdateDevice", _CARD.format(_FIRST, "<link state='down'/>"), live=True),
        do("domain", "DetachDevice", _CARD.format(_SECOND, ""), config=True),
        do("domain", "DetachDeviceByAlias", "ua-second", live=True),
        do("domain", "BlockResize", "vda", 8 * MIB),
        do("domain", "GetBlockInfo", "vda", has={"capacity": 8 * MIB}),
        do("domain", "SetBlockThreshold", "vda", MIB),
        do("domain", "GetDiskErrors", answer={}),
        do("domain", "SetBlockIoTune", "vda", {"total_bytes_sec": Typed("t", 1_000_000)}, live=True),
        do("domain", "GetBlockIoTune", "vda", has={"total_bytes_sec": 1_000_000}),
        do("domain", "GetInterfaceParameters", _FIRST, has={"inbound.average": 0}),
        do("domain", "SetInterfaceParameters", _FIRST, {"inbound.average": Typed("u", 100)}, config=True,
           error="NotSupported"),  # of a card without a host's device
        do("domain", "CreateCheckpoint", "<domaincheckpoint><name>c</name></domaincheckpoint>",
           makes="checkpoint"),
        do("checkpoint", "GetXml"),
        do("checkpoint", "Delete"),
        do("domain", "CreateSnapshot", "<domainsnapshot><name>s</name></domainsnapshot>", makes="snapshot"),
        do("snapshot", "Revert", running=True, shows={"Current": True}),
        do("snapshot", "Delete"),
        do("domain", "PowerOff"),
        do("domain", "Undefine"),
        do("volume", "Delete", shows={}),
        do("pool", "Stop"),
    )),
    "network of the test driver": Story(TEST, (
        do("connection", "DefineNetwork", _NETWORK.format("made"), makes="network"),
        do("network", "SetAutostart", True, shows={"Autostart": True}),
        do("network", "Start", shows={"Active": True}),
        do("network", "Start", error="OperationInvalid"),
        do("network", "Update", "add-last", "ip-dhcp-host", _HOST, live=True, config=True),
        do("network", "Stop", shows={"Active": False}),
        do("network", "Undefine"),
    )),
    "network of QEMU": Story(QEMU, (
        do("connection", "CreateNetwork", _NETWORK.format("moment"), makes="network"),
        do("network", "GetXml"),
        do("network", "GetDhcpLeases", answer=[]),
        do("network", "CreatePort", _PORT, reclaim=True, answer=_PORT_UUID),
        do("network", "ListPorts"),
        do("network", "GetPortParameters", _PORT_UUID),
        do("network", "SetPortParameters", _PORT_UUID, {"inbound.average": Typed("u", 100)}),
        do("network", "GetPortParameters", _PORT_UUID, has={"inbound.average": 100}),
        do("network", "DeletePort", _PORT_UUID),
        do("network", "DeletePort", _PORT_UUID, error="NoSuchObject"),
        do("network", "Stop"),
    )),
    "storage": Story(QEMU, (
        do("connection", "DefineStoragePool", _POOL.format("made"), makes="pool", shows={}),
        do("pool", "Start", build=True, shows={"Active": True}),
        do("pool", "SetAutostart", True, shows={"Autostart": True}),
        do("pool", "CreateVolume", _volume("a.qcow2"), makes="volume"),
        do("pool", "CreateVolume", _volume("a.qcow2"), error="AlreadyExists"),
        do("pool", "Refresh"),
        do("volume", "GetXml"),
        do("volume", "Delete"),
        do("pool", "GetXml"),
        do("pool", "Stop", shows={"Active": False}),
        do("pool", "Delete"),
        do("pool", "Undefine"),
    )),
    "secret": Story(QEMU, (
        do("connection", "DefineSecret", "<secret><usage type='ceph'><name>a</name></usage></secret>",
           makes="secret"),
        do("secret", "SetValue", b"a\x00b"),
        do("secret", "GetValue", answer=b"a\x00b"),
        do("secret", "GetXml"),
        do("secret", "Undefine"),
    )),
    "network filter": Story(QEMU, (
        do("connection", "DefineNWFilter", _FILTER.format("drop"), makes="nwfilter"),
        do("connection", "DefineNWFilter", _FILTER.format("eat"), error="NotSupported"),
        do("nwfilter", "GetXml"),
        do("connection", "CreateNWFilterBinding", _BINDING, makes="nwfilterbinding"),
        do("nwfilterbinding", "GetXml"),
        do("nwfilterbinding", "Delete"),
        do("nwfilter", "Undefine"),
    )),
    "host's interface": Story(TEST, (
        do("connection", "BeginInterfaceChange"),
        do("connection", "DefineInterface", "<interface type='ethernet' name='eth9'/>", makes="interface"),
        do("interface", "Start", shows={"Active": True}),
        do("interface", "GetXml"),
        do("connection", "CommitInterfaceChange"),
        do("connection", "BeginInterfaceChange"),
        do("connection", "BeginInterfaceChange", error="OperationInvalid"),
        do("interface", "Stop", shows={"Active": False}),
        do("connection", "RollbackInterfaceChange"),
        do("interface", "Undefine"),
    )),
    "node device": Story(DEFAULT, (
        do("connection", "CreateNodeDevice", _VPORT, makes="nodedev"),
        do("nodedev", "GetXml"),
        do("nodedev", "SetAutostart", True, error="NotSupported"),
        do("nodedev", "Start", error="NotSupported"),
        do("nodedev", "Undefine", error="NotSupported"),
        do("nodedev", "Detach", error="NotSupported"),
        do("nodedev", "Reattach", error="NotSupported"),
        do("nodedev", "Reset", error="NotSupported"),
        do("connection", "DefineNodeDevice", _VPORT, error="NotSupported"),
        do("nodedev", "Destroy"),
    )),
    "the test driver's host": Story(TEST, (
        do("connection", "GetCapabilities"),
        do("connection", "GetSysinfo"),
        do("connection", "GetNodeInfo", has={"cpus": 16}),
        do("connection", "GetCpuMap", has={"present": 8}),
        do("connection", "GetSecurityModel", has={"model": "testSecurity"}),
    )),
    "QEMU's host": Story(QEMU, (
        do("connection", "GetStoragePoolCapabilities"),
        do("connection", "GetDomainCapabilities"),
        do("connection", "GetNodeStats"),
        do("connection", "GetFreeMemory"),
        do("connection", "GetFreePages", [4], start_cell=0),
        do("connection", "AllocatePages", 2048, 0),
        do("connection", "GetCpuModels", "x86_64"),
        do("connection", "GetMaxVcpus", "qemu"),
        do("connection", "GetMaxVcpus", "no-such-type", error="InvalidArgument"),
        do("connection", "CompareCpu", _CPU),
        do("connection", "BaselineCpu", [_CPU]),
        do("connection", "CompareHypervisorCpu", _CPU, arch="x86_64", type="qemu"),
        do("connection", "BaselineHypervisorCpu", [_CPU], arch="x86_64", type="qemu"),
        do("connection", "ConvertFromXml", "qemu-argv", _qemu("x")),
        do("connection", "GetSevInfo", error="NotSupported"),
        do("connection", "SuspendHost", "disk", 60_000, error="NotSupported"),
        do("connection", "FindStoragePoolSources", "dir", error="NotSupported"),
        do("connection", "ConvertToXml", "qemu-argv", "qemu", error="NotSupported"),
        do("connection", "GetMemoryParameters"),
        do("connection", "SetMemoryParameters", {"shm_pages_to_scan": Typed("u", 100)}),
    )),
}  # fmt: skip

_GUEST = "a guest that sleeps when its agent tells it to"
_MEDIATED = "a host with mediated devices"
_ASSIGNABLE = "a host's device that a guest may have"
_CGROUPS = "control groups of libvirtd's own"
# What it would take to see these rows succeed. Their errors are in the stories.
NOT_HERE: Mapping[tuple[Kind, str], str] = {
    (
        Kind.CONNECTION,
        "convert-to-xml",
    ): "a driver that reads a format of its own",
    (Kind.CONNECTION, "define-node-device"): _MEDIATED,
    (Kind.CONNECTION, "find-storage-pool-sources"): "iSCSI, NFS or volume groups",
    (Kind.CONNECTION, "get-sev-info"): "a host with AMD SEV",
    (Kind.CONNECTION, "suspend-host"): "a host that may sleep",
    (Kind.DOMAIN, "abort-job"): "a job, see the tests of jobs",
    (Kind.DOMAIN, "get-scheduler-parameters"): _CGROUPS,
    (Kind.DOMAIN, "set-scheduler-parameters"): _CGROUPS,
    (Kind.DOMAIN, "set-launch-security-state"): "a guest with AMD SEV",
    (Kind.DOMAIN, "set-interface-parameters"): "a network device of the host with traffic control",
    (Kind.DOMAIN, "pm-suspend"): _GUEST,
    (Kind.DOMAIN, "pm-wakeup"): _GUEST,
    (Kind.NODEDEV, "set-autostart"): _MEDIATED,
    (Kind.NODEDEV, "start"): _MEDIATED,
    (Kind.NODEDEV, "undefine"): _MEDIATED,
    (Kind.NODEDEV, "detach"): _ASSIGNABLE,
    (Kind.NODEDEV, "reattach"): _ASSIGNABLE,
    (Kind.NODEDEV, "reset"): _ASSIGNABLE,
}

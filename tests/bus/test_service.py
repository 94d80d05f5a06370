"""The service as clients see it: objects, properties, introspection, and the questions the cache answers."""

import asyncio
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest

from tests.support.client import CallFailed, Client, wait_until
from tests.support.client import error_of as client_error_of
from tests.support.daemon import Daemon
from virtbridge.bus.contract import CONTRACT_FOLDER, load_contract
from virtbridge.bus.names import NAME

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "/org/virtbridge1"
LAB = f"{ROOT}/lab"
WEB = f"{LAB}/domain/_11111111_1111_4111_8111_111111111111"
DB = f"{LAB}/domain/_22222222_2222_4222_8222_222222222222"
LAN = f"{LAB}/network/_33333333_3333_4333_8333_333333333333"
IMAGES = f"{LAB}/pool/_44444444_4444_4444_8444_444444444444"
HOST = f"{LAB}/nodedev/computer"
MANAGER, CONNECTION = "org.virtbridge1.Manager", "org.virtbridge1.Connection"
DOMAIN, NETWORK = "org.virtbridge1.Domain", "org.virtbridge1.Network"
POOL, DEVICE = "org.virtbridge1.StoragePool", "org.virtbridge1.NodeDevice"
PROPERTIES, OBJECT_MANAGER = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"


async def error_of(client: Client, *call: object) -> str:
    """The bus's own without their prefix, too."""
    return (await client_error_of(client, *call)).removeprefix("org.freedesktop.DBus.Error.")


async def test_managed_objects_are_all_objects_with_all_properties(client: Client) -> None:
    objects = await client.managed_objects()
    assert {path: list(interfaces) for path, interfaces in objects.items()} == {
        LAB: [CONNECTION],
        WEB: [DOMAIN],
        DB: [DOMAIN],
        LAN: [NETWORK],
        IMAGES: [POOL],
        HOST: [DEVICE],
    }
    contract = load_contract(NAME)
    for path, interfaces in objects.items():
        for interface, values in interfaces.items():
            assert list(values) == list(contract[interface].properties)
            assert values == await client.get_all(path, interface)
            for name in values:
                assert values[name] == await client.get(path, interface, name)


async def test_what_the_properties_say(client: Client) -> None:
    web = await client.get_all(WEB, DOMAIN)
    expected = {
        "Name": "web",
        "State": "running",
        "Active": True,
        "Persistent": True,
        "Title": "Front end",
        "MemoryMaximum": 512 << 20,
        "VcpusMaximum": 2,
        "Connection": LAB,
    }
    assert {name: web[name] for name in expected} == expected
    assert web["Id"] > 0
    assert [(disk["target"], disk["source"], disk.get("read-only")) for disk in web["Disks"]] == [
        ("vda", "/images/web.qcow2", None),
        ("sda", "/images/tools.iso", True),
    ]
    lan = await client.get_all(LAN, NETWORK)
    assert (lan["Bridge"], lan["Active"], lan["Addresses"][0]["address"]) == ("virbr7", True, "192.168.77.1")
    lab = await client.get_all(LAB, CONNECTION)
    assert (lab["State"], lab["Driver"]) == ("ready", "TEST")
    assert lab["EventKinds"] == ["domain", "network", "nodedev", "pool"]
    images = await client.get_all(IMAGES, POOL)
    assert (images["State"], images["Type"], images["TargetPath"]) == ("running", "dir", "/images")
    assert images["Capacity"] == images["Available"] > 0
    host = await client.get_all(HOST, DEVICE)
    assert (host["Active"], host["Parent"], host["Capabilities"]) == (True, "", ["system"])
    uuid = "55555555-5555-4555-8555-555555555555"
    assert host["Details"] == [{"type": "system", "vendor": "Example", "serial": "7", "uuid": uuid}]
    assert await client.get(ROOT, MANAGER, "Connections") == [LAB]


async def nodes(client: Client, path: str) -> list[tuple[str, ElementTree.Element]]:
    root = ElementTree.fromstring(await client.call(path, INTROSPECTABLE, "Introspect"))
    found = [(path, root)]
    for node in root.iterfind("node"):
        found += await nodes(client, f"{path.rstrip('/')}/{node.get('name')}")
    return found


async def test_introspection_leads_from_the_top_to_every_object_and_shows_the_contract(
    client: Client,
) -> None:
    found = dict(await nodes(client, "/"))
    between = {"/", "/org", *(f"{LAB}/{kind}" for kind in ("domain", "network", "pool", "nodedev"))}
    assert found.keys() == {ROOT, LAB, WEB, DB, LAN, IMAGES, HOST} | between
    for path, root in found.items():
        shown = {interface.get("name") for interface in root.iterfind("interface")}
        assert {"org.freedesktop.DBus.Peer", INTROSPECTABLE} <= shown
        assert (PROPERTIES in shown) == (path not in between)
    shown = {interface.get("name") for interface in found[ROOT].iterfind("interface")}
    assert {MANAGER, "org.virtbridge1.Metrics", OBJECT_MANAGER} <= shown
    methods = {method.get("name") for method in found[WEB].iterfind(f"interface[@name='{DOMAIN}']/method")}
    assert methods == set(load_contract(NAME)[DOMAIN].methods)


async def test_peer_answers_everywhere(client: Client) -> None:
    for path in ("/", ROOT, WEB, "/no/such/object"):
        assert await client.call(path, "org.freedesktop.DBus.Peer", "Ping") is None


async def test_find_domains(client: Client) -> None:
    async def find(text: str, **options: object) -> list[str]:
        made = {name: client.variant("s", value) for name, value in options.items()}
        return list(await client.call(ROOT, MANAGER, "FindDomains", "sa{sv}", [text, made]))

    assert await find("web") == [WEB]
    assert await find("22222222222242228222222222222222") == [DB]
    assert await find(str(await client.get(WEB, DOMAIN, "Id"))) == [WEB]
    assert await find("web", connection="lab") == [WEB]
    assert await find("web", connection=LAB) == [WEB]
    assert await find("we") == []


async def test_of_a_host_that_was_never_read_nobody_knows_who_uses_a_disk(client: Client) -> None:
    await client.call(
        ROOT, MANAGER, "OpenConnection", "ssa{sv}", ["away", "test+tcp://127.0.0.1:1/default", {}]
    )
    options = {"connection": client.variant("s", "away")}
    try:
        with pytest.raises(CallFailed) as refused:
            await client.call(ROOT, MANAGER, "FindDiskUsers", "sa{sv}", ["/a", options])
        assert refused.value.name == "org.virtbridge1.Error.NotConnected"
        assert await client.call(ROOT, MANAGER, "FindDiskUsers", "sa{sv}", ["/a", {}]) == []
    finally:
        await client.call(ROOT, MANAGER, "CloseConnection", "oa{sv}", [f"{ROOT}/away", {}])


async def test_find_users_of_disks_and_addresses(client: Client) -> None:
    async def users(source: str) -> list[list[str]]:
        found = await client.call(ROOT, MANAGER, "FindDiskUsers", "sa{sv}", [source, {}])
        return [list(user) for user in found]

    assert await users("/images//./web.qcow2") == [[WEB, "vda", "rw"]]
    assert await users("/images/db.raw") == [[DB, "vda", "shared"]]
    assert await users("/images/tools.iso") == [[WEB, "sda", "ro"], [DB, "sda", "ro"]]
    assert await users("/images/none") == []
    macs = await client.call(ROOT, MANAGER, "FindMacUsers", "sa{sv}", ["52-54-00-00-00-07", {}])
    assert [list(user) for user in macs] == [[LAN, "virbr7"]]
    [[path, _target]] = await client.call(ROOT, MANAGER, "FindMacUsers", "sa{sv}", ["52:54:00:00:00:01", {}])
    assert path == WEB


async def test_select(client: Client) -> None:
    async def select(kind: str, *columns: str) -> dict[str, dict[str, object]]:
        return dict(await client.call(ROOT, MANAGER, "Select", "sasa{sv}", [kind, list(columns), {}]))

    assert await select("domain", "Name", "Active") == {
        WEB: {"Name": "web", "Active": True},
        DB: {"Name": "db", "Active": True},
    }
    assert (await select("network"))[LAN] == await client.get_all(LAN, NETWORK)
    assert await select("connection", "Name") == {LAB: {"Name": "lab"}}
    [xml] = (await select("network", "Xml")).values()
    assert xml["Xml"] == await client.call(LAN, NETWORK, "GetXml", "a{sv}", [{}])


async def test_query_xml(client: Client) -> None:
    found = await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "//disk/target/@dev", {}])
    assert found == {WEB: ["vda", "sda"], DB: ["vda", "sda"]}
    found = await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "/domain/title/text()", {}])
    assert found == {WEB: ["Front end"]}
    options = {"namespaces": client.variant("a{ss}", {"m": "urn:m"})}
    found = await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "count(//m:x)", options])
    assert found == {WEB: ["0"], DB: ["0"]}


async def test_an_endless_query_ends_and_holds_up_nobody(client: Client) -> None:
    forever = "//*"
    for _ in range(30):
        forever = f"//*[count({forever}) > 0]"
    options = {"timeout": client.variant("t", 1500)}
    query = asyncio.create_task(
        client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", forever, options], timeout_s=30)
    )
    answered = 0
    while not query.done():
        assert await client.get(WEB, DOMAIN, "Name") == "web"
        answered += 1
    with pytest.raises(CallFailed, match="Timeout"):
        await query
    assert answered > 10


async def test_xml_comes_from_the_cache_and_with_options_from_libvirt(client: Client) -> None:
    def calls(counters: dict[str, int]) -> int:
        return counters.get("libvirt.XMLDesc", 0)

    before = calls(await client.counters())
    live = await client.call(WEB, DOMAIN, "GetXml", "a{sv}", [{}])
    assert "<name>web</name>" in live
    assert calls(await client.counters()) == before
    inactive = await client.call(WEB, DOMAIN, "GetXml", "a{sv}", [{"inactive": client.variant("b", True)}])
    assert "<name>web</name>" in inactive
    secure = await client.call(WEB, DOMAIN, "GetXml", "a{sv}", [{"secure": client.variant("b", True)}])
    assert "<name>web</name>" in secure
    assert calls(await client.counters()) == before + 2


async def test_autostart_is_written_and_announced(client: Client) -> None:
    signals = await client.signals(f"type='signal',interface='{PROPERTIES}',path='{DB}'")
    for value in (True, False):
        await client.call(DB, PROPERTIES, "Set", "ssv", [DOMAIN, "Autostart", client.variant("b", value)])
        assert (await signals.next()).args == (DOMAIN, {"Autostart": value}, [])
        assert await client.get(DB, DOMAIN, "Autostart") is value
    # A value that is the same already is no change.
    await client.call(DB, PROPERTIES, "Set", "ssv", [DOMAIN, "Autostart", client.variant("b", False)])
    await client.call(LAN, PROPERTIES, "Set", "ssv", [NETWORK, "Autostart", client.variant("b", True)])
    assert signals.drain() == []
    assert await client.get(LAN, NETWORK, "Autostart") is True


async def test_every_kind_is_listed_selected_queried_and_refreshed_alike(client: Client) -> None:
    for kind, path, interface in (("pool", IMAGES, POOL), ("nodedev", HOST, DEVICE)):
        assert await client.call(LAB, CONNECTION, "List", "sa{sv}", [kind, {}]) == [path]
        assert await client.call(LAB, CONNECTION, "Refresh", "asa{sv}", [[kind], {}]) is None
        selected = await client.call(ROOT, MANAGER, "Select", "sasa{sv}", [kind, [], {}])
        assert selected == {path: await client.get_all(path, interface)}
        name = await client.get(path, interface, "Name")
        found = await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", [kind, "/*/name/text()", {}])
        assert found == {path: [name]}
        assert f"<name>{name}</name>" in await client.call(path, interface, "GetXml", "a{sv}", [{}])


async def test_a_pool_starts_with_the_host_when_told_so(client: Client) -> None:
    for value in (True, False):
        await client.call(IMAGES, PROPERTIES, "Set", "ssv", [POOL, "Autostart", client.variant("b", value)])
        assert await client.get(IMAGES, POOL, "Autostart") is value


async def test_a_kind_that_the_driver_lacks_is_not_there(client: Client) -> None:
    """The test driver has no secrets."""
    lab = await client.get_all(LAB, CONNECTION)
    assert "secret" not in lab["EventKinds"] + lab["DemandKinds"]
    for method, arguments in (
        ("List", ("sa{sv}", ["secret", {}])),
        ("Refresh", ("asa{sv}", [["secret"], {}])),
    ):
        assert await error_of(client, LAB, CONNECTION, method, *arguments) == "NotSupported"
    assert await client.call(ROOT, MANAGER, "Select", "sasa{sv}", ["secret", [], {}]) == {}


async def test_list_and_refresh(client: Client) -> None:
    assert await client.call(LAB, CONNECTION, "List", "sa{sv}", ["domain", {}]) == [WEB, DB]
    before = await client.get(LAB, CONNECTION, "LastSync")
    assert await client.call(LAB, CONNECTION, "Refresh", "asa{sv}", [["domain"], {}]) is None
    assert await client.call(LAB, CONNECTION, "Refresh", "asa{sv}", [[], {}]) is None
    assert await client.get(LAB, CONNECTION, "LastSync") >= before


async def test_connections_are_opened_and_closed_at_run_time(client: Client) -> None:
    signals = await client.signals(f"type='signal',interface='{OBJECT_MANAGER}'")
    path = await client.call(ROOT, MANAGER, "OpenConnection", "ssa{sv}", ["mine 1", "test:///default", {}])
    assert path == f"{ROOT}/mine_201"
    assert await client.get(ROOT, MANAGER, "Connections") == [LAB, path]
    assert (await signals.next()).args[0] == path

    async def ready() -> bool:
        return bool(await client.get(path, CONNECTION, "State") == "ready")

    await wait_until(ready, "the new connection is ready")
    [new_domain] = await client.call(path, CONNECTION, "List", "sa{sv}", ["domain", {}])
    await signals.until(lambda signal: signal.args[0] == new_domain)
    assert await error_of(
        client, ROOT, MANAGER, "OpenConnection", "ssa{sv}", ["mine 1", "test:///default", {}]
    ) == ("AlreadyExists")
    await client.call(ROOT, MANAGER, "CloseConnection", "oa{sv}", [path, {}])
    await signals.until(lambda signal: signal.member == "InterfacesRemoved" and signal.args[0] == path)
    assert await client.get(ROOT, MANAGER, "Connections") == [LAB]
    assert await error_of(client, path, PROPERTIES, "GetAll", "s", [CONNECTION]) == "UnknownObject"
    assert await error_of(client, ROOT, MANAGER, "CloseConnection", "oa{sv}", [path, {}]) == "NoSuchObject"


@pytest.mark.parametrize(
    "uri",
    [
        "test:///etc/passwd",
        "qemu+ext://h/system?command=/bin/sh",
        "qemu+ssh://h/system?keyfile=/k",
        "nonsense",
        "",
    ],
)
async def test_uris_that_run_programs_or_read_files_are_refused_from_clients(
    client: Client, uri: str
) -> None:
    assert (
        await error_of(client, ROOT, MANAGER, "OpenConnection", "ssa{sv}", ["x", uri, {}])
        == "InvalidArgument"
    )
    assert await client.get(ROOT, MANAGER, "Connections") == [LAB]


def strange_calls(client: Client) -> Iterator[tuple[str, tuple[object, ...]]]:
    """(the error's name, the call)"""
    truth = client.variant("b", True)
    yield "UnknownObject", ("/org/virtbridge1/none", PROPERTIES, "GetAll", "s", [DOMAIN])
    yield "UnknownObject", (f"{WEB}x", DOMAIN, "GetXml", "a{sv}", [{}])
    yield "UnknownInterface", (WEB, "org.virtbridge1.Nothing", "GetXml", "a{sv}", [{}])
    yield "UnknownInterface", (WEB, MANAGER, "FindDomains", "sa{sv}", ["x", {}])
    yield "UnknownInterface", (f"{LAB}/domain", PROPERTIES, "GetAll", "s", [""])
    yield "UnknownMethod", (WEB, DOMAIN, "Explode", "", [])
    yield "UnknownMethod", (WEB, None, "Explode", "", [])
    yield "InvalidArgs", (WEB, DOMAIN, "GetXml", "", [])
    yield "InvalidArgs", (WEB, DOMAIN, "GetXml", "s", ["x"])
    yield "InvalidArgs", (WEB, PROPERTIES, "Get", "s", [DOMAIN])
    yield "InvalidArgs", (ROOT, OBJECT_MANAGER, "GetManagedObjects", "s", ["x"])
    yield "InvalidArgument", (WEB, DOMAIN, "GetXml", "a{sv}", [{"unknown": truth}])
    yield "UnknownObject", (f"{LAB}/nodedev/nothing", DEVICE, "GetXml", "a{sv}", [{}])
    yield "PropertyReadOnly", (IMAGES, PROPERTIES, "Set", "ssv", [POOL, "State", client.variant("s", "x")])
    yield "InvalidArgument", (WEB, DOMAIN, "GetXml", "a{sv}", [{"inactive": client.variant("s", "yes")}])
    yield "InvalidArgument", (ROOT, MANAGER, "FindMacUsers", "sa{sv}", ["no address", {}])
    yield "InvalidArgument", (ROOT, MANAGER, "FindDiskUsers", "sa{sv}", ["", {}])
    yield "InvalidArgument", (ROOT, MANAGER, "Select", "sasa{sv}", ["domain", ["Nothing"], {}])
    yield "InvalidArgument", (ROOT, MANAGER, "Select", "sasa{sv}", ["cheese", [], {}])
    yield "InvalidArgument", (ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "//[", {}])
    yield "InvalidArgument", (ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "/" * 1025, {}])
    yield "InvalidArgument", (ROOT, MANAGER, "QueryXml", "ssa{sv}", ["connection", "/*", {}])
    yield "InvalidArgument", (ROOT, MANAGER, "OpenConnection", "ssa{sv}", ["", "test:///default", {}])
    yield "InvalidArgument", (ROOT, MANAGER, "OpenConnection", "ssa{sv}", ["a/b", "test:///default", {}])
    yield "InvalidArgument", (LAB, CONNECTION, "Refresh", "asa{sv}", [["cheese"], {}])
    yield (
        "NoSuchObject",
        (ROOT, MANAGER, "FindDomains", "sa{sv}", ["x", {"connection": client.variant("s", "no")}]),
    )
    yield "NoSuchObject", (ROOT, MANAGER, "CloseConnection", "oa{sv}", [WEB, {}])
    yield "UnknownProperty", (WEB, PROPERTIES, "Get", "ss", [DOMAIN, "Nothing"])
    yield "UnknownProperty", (WEB, PROPERTIES, "Get", "ss", [PROPERTIES, "Name"])
    yield "UnknownInterface", (WEB, PROPERTIES, "Get", "ss", [NETWORK, "Name"])
    yield "UnknownInterface", (WEB, PROPERTIES, "GetAll", "s", ["org.virtbridge1.Nothing"])
    yield "PropertyReadOnly", (WEB, PROPERTIES, "Set", "ssv", [DOMAIN, "Name", client.variant("s", "x")])
    yield "InvalidArgs", (WEB, PROPERTIES, "Set", "ssv", [DOMAIN, "Autostart", client.variant("s", "x")])
    yield "UnknownProperty", (WEB, PROPERTIES, "Set", "ssv", [DOMAIN, "Nothing", truth])
    yield "LimitExceeded", (ROOT, MANAGER, "FindDomains", "sa{sv}", ["x" * (1 << 20), {}])


async def test_whatever_a_strange_client_sends_gets_a_named_error(client: Client) -> None:
    before = await client.managed_objects()
    for expected, call in strange_calls(client):
        assert await error_of(client, *call) == expected, call
    nested = client.variant("s", "deep")
    for _ in range(20):
        nested = client.variant("v", nested)
    assert await error_of(client, WEB, DOMAIN, "GetXml", "a{sv}", [{"inactive": nested}]) == "InvalidArgument"
    assert await client.managed_objects() == before


async def test_an_empty_interface_name_means_any(client: Client) -> None:
    assert await client.get(WEB, "", "Name") == "web"
    assert await client.get_all(WEB, "") == await client.get_all(WEB, DOMAIN)
    assert await client.get_all(WEB, PROPERTIES) == {}
    assert await client.call(WEB, None, "GetXml", "a{sv}", [{}]) == await client.call(
        WEB, DOMAIN, "GetXml", "a{sv}", [{}]
    )


async def test_who_wants_no_reply_gets_none(client: Client) -> None:
    replies: list[object] = []
    # Not the bus's own signal that we have a name, which may come late.
    client.on_message.append(lambda each: replies.append(each) if each.reply_serial else None)
    await client.send(WEB, DOMAIN, "GetXml", "a{sv}", [{}])
    await client.send(WEB, DOMAIN, "Explode")
    await client.send(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "//name", {}])
    # Replies come in order: had there been one, it would be here before this one.
    await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "//name", {}])
    await client.call(WEB, "org.freedesktop.DBus.Peer", "Ping")
    assert len(replies) == 2


async def test_metrics_prove_that_reading_costs_no_libvirt_call(client: Client) -> None:
    def libvirt_calls(counters: dict[str, int]) -> dict[str, int]:
        return {name: value for name, value in counters.items() if name.startswith("libvirt.")}

    before = await client.counters()
    await client.managed_objects()
    for _ in range(20):
        await client.get(WEB, DOMAIN, "State")
        await client.call(ROOT, MANAGER, "FindDomains", "sa{sv}", ["web", {}])
    after = await client.counters()
    assert libvirt_calls(after) == libvirt_calls(before)
    assert after["cache.reads"] >= before["cache.reads"] + 41


async def test_every_counter_is_explained(client: Client) -> None:
    text = (CONTRACT_FOLDER / "org.virtbridge1.Metrics.xml").read_text()
    known = {name.removesuffix("NAME") for name in re.findall("`([a-z.-]+(?:NAME)?)`", text)}
    counters = await client.counters()
    assert {name for name in counters if not {name, f"{name.partition('.')[0]}."} & known} == set()


async def test_nothing_was_logged_as_our_mistake(daemon: Daemon) -> None:
    assert "handler failed" not in daemon.log()
    assert "Traceback" not in daemon.log()

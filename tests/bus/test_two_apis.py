"""Two APIs on one cache: ours, and a tiny one that is made here from data, on a real bus.

Each has names, paths, properties, signals and errors of its own, and both are right at the same time.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.client import OBJECT_MANAGER, PROPERTIES, ROOT, SERVICE, CallFailed, Client
from tests.support.dbus_daemon import BusDaemon
from virtbridge.bus.api import Api, Emitted
from virtbridge.bus.call import Call
from virtbridge.bus.contract import BadContract, load_interfaces
from virtbridge.bus.errors import link_errors
from virtbridge.bus.properties import Field
from virtbridge.bus.service import BusService, Core, HandlersOf, Parts
from virtbridge.bus.virtbridge1 import handlers, virtbridge1
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.cache.statistics import Statistics
from virtbridge.config import Config
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Portions
from virtbridge.metrics import Metrics
from virtbridge.model.changes import LIFECYCLE, Drop, Patch, Put, Signal
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, DomainRecord, NetworkRecord
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.clients import Clients
from virtbridge.wire.link import Link
from virtbridge.wire.transport import marshal

TINY, TINY_ROOT = "com.example.Tiny", "/com/example/Tiny"
HOST, MACHINE = f"{TINY}.Host", f"{TINY}.Machine"
MANAGER, DOMAIN = f"{SERVICE}.Manager", f"{SERVICE}.Domain"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"

WEB = Key("lab", Kind.DOMAIN, "11111111-1111-4111-8111-111111111111")
LAN = Key("lab", Kind.NETWORK, "33333333-3333-4333-8333-333333333333")
OUR_WEB = f"{ROOT}/lab/domain/_11111111_1111_4111_8111_111111111111"
OUR_LAN = f"{ROOT}/lab/network/_33333333_3333_4333_8333_333333333333"
TINY_WEB = f"{TINY_ROOT}/m11111111111141118111111111111111"

XML = """
<node>
  <interface name="com.example.Tiny.Host">
    <property name="Version" type="s" access="read"/>
  </interface>
  <interface name="com.example.Tiny.Machine">
    <method name="Start">
      <arg name="options" type="a{sv}" direction="in"/>
      <annotation name="org.virtbridge1.Access" value="read"/>
      <annotation name="org.virtbridge1.Options" value=""/>
    </method>
    <property name="Running" type="b" access="read"/>
    <property name="Title" type="s" access="read"/>
    <signal name="Happened"><arg type="s"/></signal>
  </interface>
</node>
"""


class HostHandlers:
    pass


class MachineHandlers:
    def start(self, call: Call, options: Mapping[str, Any]) -> None:
        raise BridgeError(ErrorKind.OPERATION_INVALID, f"{call.key.id} is running")


def tiny_handlers(_parts: Parts) -> Mapping[str, object]:
    return {HOST: HostHandlers(), MACHINE: MachineHandlers()}


def tiny(folder: Path) -> Api:
    file = folder / "tiny.xml"
    file.write_text(XML)
    return Api(
        name=TINY,
        root=TINY_ROOT,
        root_interface=HOST,
        root_also=(),
        contract=load_interfaces(file),
        tables={
            HOST: {"Version": Field("version")},
            MACHINE: {
                "Running": Field("active"),
                "Title": lambda key, record: f"{key.connection}/{record.name}",
            },
        },
        interface_of={Kind.DOMAIN: MACHINE},
        path_of=lambda key: f"{TINY_ROOT}/m{key.id.replace('-', '')}",
        error_names=dict.fromkeys(ErrorKind, f"{TINY}.Failed"),
        operations={},
        signals={LIFECYCLE: Emitted("Happened", lambda event, _detail: marshal("s", [event]))},
    )


class Bench(NamedTuple):
    cache: Cache
    metrics: Metrics
    client: Client


def core(cache: Cache, metrics: Metrics) -> Core:
    """Without libvirt: the tests write the cache themselves."""
    config = Config()
    no_source: Any = None
    requests = Requests(no_source, metrics, cache)
    statistics = Statistics(no_source, cache, metrics, config.stats)
    return Core(cache, requests, statistics, metrics, config, Portions(), BacklogLimits())


@pytest.fixture
async def bench(bus: BusDaemon, tmp_path: Path) -> AsyncIterator[Bench]:
    """Both APIs serve one cache, each on a connection of its own."""
    cache, metrics = Cache(), Metrics()
    shared = core(cache, metrics)
    async with AsyncExitStack() as stack:
        for api, handlers_of in ((virtbridge1(), handlers), (tiny(tmp_path), tiny_handlers)):
            link = await Link.connect(bus.address, names=link_errors(api.error_names))
            stack.callback(link.close)
            clients = Clients(link, session=True)
            stack.push_async_callback(clients.stop)
            service = BusService(api, handlers_of, link, clients, shared, session=True)
            await clients.watch()
            await service.serve()
            stack.push_async_callback(service.stop)
        client = await Client.connect(bus.address)
        stack.push_async_callback(client.close)
        lab = Put(connection_key("lab"), ConnectionRecord("lab", "test:///default"))
        cache.apply([lab, Put(WEB, DomainRecord(WEB.id, "web")), Put(LAN, NetworkRecord(LAN.id, "lan"))])
        yield Bench(cache, metrics, client)


async def managed(client: Client, name: str, root: str) -> dict[str, Any]:
    found = await client.call(root, OBJECT_MANAGER, "GetManagedObjects", destination=name)
    assert isinstance(found, dict)
    return found


async def get(client: Client, name: str, path: str, interface: str, member: str) -> Any:
    return await client.call(path, PROPERTIES, "Get", "ss", [interface, member], destination=name)


async def test_each_shows_its_own_objects_properties_and_paths(bench: Bench) -> None:
    client = bench.client
    ours = await managed(client, SERVICE, ROOT)
    assert ours.keys() == {f"{ROOT}/lab", OUR_WEB, OUR_LAN}
    assert (ours[OUR_WEB][DOMAIN]["Name"], ours[OUR_WEB][DOMAIN]["Active"]) == ("web", False)
    assert await managed(client, TINY, TINY_ROOT) == {
        TINY_WEB: {MACHINE: {"Running": False, "Title": "lab/web"}}
    }
    assert await get(client, SERVICE, ROOT, MANAGER, "Connections") == [f"{ROOT}/lab"]
    assert await get(client, TINY, TINY_WEB, MACHINE, "Title") == "lab/web"
    version = await get(client, SERVICE, ROOT, MANAGER, "Version")
    assert await get(client, TINY, TINY_ROOT, HOST, "Version") == version
    shown = await client.call(TINY_WEB, INTROSPECTABLE, "Introspect", destination=TINY)
    assert f'"{MACHINE}"' in shown
    assert DOMAIN not in shown


async def test_one_change_is_announced_by_each_in_its_own_words(bench: Bench) -> None:
    for name, root in ((SERVICE, ROOT), (TINY, TINY_ROOT)):
        assert await managed(bench.client, name, root)  # all that came before is announced
    queue = await bench.client.signals("type='signal'")
    bench.cache.apply(
        [
            Patch(WEB, {"id": 7}),
            Signal(WEB, LIFECYCLE, ("started", "booted")),
            Signal(WEB, "Event", ("reboot", {})),
            Signal(LAN, LIFECYCLE, ("started", "")),
        ]
    )
    assert await get(bench.client, TINY, TINY_WEB, MACHINE, "Running") is True
    assert await get(bench.client, SERVICE, OUR_WEB, DOMAIN, "Id") == 7
    bench.cache.apply([Drop(WEB)])
    heard: dict[str, list[Any]] = {ROOT: [], TINY_ROOT: []}
    ended = 0
    while ended < len(heard):
        signal = await queue.next()
        [root] = [root for root in heard if signal.path.startswith(root)]
        heard[root].append((signal.path, signal.member, signal.args))
        ended += signal.member == "InterfacesRemoved"
    assert heard == {
        ROOT: [
            (OUR_WEB, "PropertiesChanged", (DOMAIN, {"Id": 7, "Active": True}, [])),
            (OUR_WEB, "Lifecycle", ("started", "booted")),
            (OUR_WEB, "Event", ("reboot", {})),
            (OUR_LAN, "Lifecycle", ("started", "")),
            (ROOT, "InterfacesRemoved", (OUR_WEB, [DOMAIN])),
        ],
        TINY_ROOT: [
            (TINY_WEB, "PropertiesChanged", (MACHINE, {"Running": True}, [])),
            (TINY_WEB, "Happened", ("started",)),
            (TINY_ROOT, "InterfacesRemoved", (TINY_WEB, [MACHINE])),
        ],
    }


async def test_each_has_its_own_errors_and_no_path_of_the_other(bench: Bench) -> None:
    async def failure(name: str, *call: Any) -> tuple[str, str]:
        with pytest.raises(CallFailed) as caught:
            await bench.client.call(*call, destination=name)
        return caught.value.name, caught.value.text

    name, _ = await failure(SERVICE, OUR_WEB, DOMAIN, "GetXml", "a{sv}", [{}])
    assert name == "org.virtbridge1.Error.OperationFailed"
    assert await failure(TINY, TINY_WEB, MACHINE, "Start", "a{sv}", [{}]) == (
        "com.example.Tiny.Failed",
        f"{WEB.id} is running",
    )
    for service, path, interface in ((SERVICE, TINY_WEB, MACHINE), (TINY, OUR_WEB, DOMAIN)):
        name, _ = await failure(service, path, PROPERTIES, "GetAll", "s", [interface])
        assert name == "org.freedesktop.DBus.Error.UnknownObject"


async def test_what_both_count_is_added_up(bench: Bench) -> None:
    before = bench.metrics.snapshot()["cache.reads"]
    await get(bench.client, SERVICE, OUR_WEB, DOMAIN, "Name")
    await get(bench.client, TINY, TINY_WEB, MACHINE, "Title")
    assert bench.metrics.snapshot()["cache.reads"] == before + 2


async def test_an_api_that_does_not_fit_together_stops_the_start(bus: BusDaemon, tmp_path: Path) -> None:
    api = tiny(tmp_path)
    wrong: list[tuple[Api, HandlersOf, str]] = [
        (replace(api, interface_of={}), tiny_handlers, "Machine"),
        (replace(api, tables={HOST: {}, MACHINE: {}}), tiny_handlers, "Version"),
        (api, lambda _parts: {HOST: HostHandlers()}, "Machine"),
        (api, lambda _parts: {HOST: HostHandlers(), MACHINE: HostHandlers()}, "Start"),
    ]
    link = await Link.connect(bus.address)
    clients = Clients(link, session=True)
    for wrong_api, handlers_of, named in wrong:
        with pytest.raises(BadContract, match=named):
            BusService(wrong_api, handlers_of, link, clients, core(Cache(), Metrics()), session=True)
    link.close()

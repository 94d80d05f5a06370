"""Every operation with arguments and options that mean nothing: an error with a name, and no other harm.

On libvirt's test driver, where no operation reaches the host. Jobs write files, so they are not here.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.bus.conftest import NODE
from tests.support.client import ROOT, SERVICE, CallFailed, Client
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon
from virtbridge.bus.contract import load_contract
from virtbridge.bus.names import INTERFACE_OF
from virtbridge.model.keys import Kind
from virtbridge.model.operations import OPERATIONS, Operation

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = f"{ROOT}/lab"
CONTRACT = load_contract(SERVICE)
MEANINGLESS: dict[str, tuple[Any, ...]] = {
    "s": ("", "x", "é", "<a/>", "<domain", "x" * 5000),
    "b": (True, False),
    "i": (-(2**31), -1, 2**31 - 1),
    "u": (0, 2**31, 2**32 - 1),
    "t": (0, 2**63, 2**64 - 1),
    "as": ([], ["x"] * 5000, ["x"]),
    "au": ([], [2**32 - 1], [0] * 5000, [4] * 256),
    "ay": (b"", b"\xff\x00"),
    "a{sv}": ({}, {"x": ("u", 1)}, {"weight": ("as", ["x"])}),
    "o": ("/", f"{ROOT}/no/such", HOST),
}
UUID = "<uuid>66666666-6666-4666-8666-666666666666</uuid>"
MADE = {
    Kind.DOMAIN: f"""<domain type='test'><name>odd</name>{UUID}<memory>8192</memory>
<os><type>hvm</type></os></domain>""",
    Kind.NETWORK: f"<network><name>odd</name>{UUID}<bridge name='virbr8'/></network>",
    Kind.POOL: f"<pool type='dir'><name>odd</name>{UUID}<target><path>/odd</path></target></pool>",
    Kind.INTERFACE: "<interface type='ethernet' name='odd0'/>",
}
ROWS = [
    (kind, row)
    for kind, rows in OPERATIONS.items()
    for row in rows.values()
    if row.course is None and not row.internal and (row.arguments or row.options)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(module_bus: BusDaemon) -> AsyncIterator[Daemon]:
    running = await Daemon.start(module_bus.address, {"lab": f"test://{NODE}"})
    yield running
    await running.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def user(service: Daemon) -> AsyncIterator[Client]:
    client = await Client.connect(service.address)
    yield client
    await client.close()


def plain(client: Client, value: Any) -> Any:
    return {name: client.variant(*each) for name, each in value.items()} if isinstance(value, dict) else value


def member_of(kind: Kind, row: Operation) -> str:
    methods = CONTRACT[INTERFACE_OF[kind]].methods
    return next((name for name in methods if name.lower() == row.name.replace("-", "")), "")


def calls(row: Operation) -> Iterator[tuple[list[Any], dict[str, tuple[str, Any]]]]:
    """Each argument and each option with each value, the other arguments with their first and last ones."""
    for end in (0, -1):
        others = [MEANINGLESS[each.type][end] for each in row.arguments]
        for place, argument in enumerate(row.arguments):
            for value in MEANINGLESS[argument.type]:
                yield [*others[:place], value, *others[place + 1 :]], {}
        for option in row.options:
            for value in MEANINGLESS[option.type]:
                yield others, {option.name: (option.type, value)}


async def target(client: Client, kind: Kind) -> str:
    """An object of this kind, made anew where it can be."""
    if kind is Kind.CONNECTION:
        return HOST
    known = await client.managed_objects()
    paths = [path for path, shown in known.items() if INTERFACE_OF[kind] in shown]
    if kind not in MADE:
        return next(iter(paths), "")
    ours = [path for path in paths if "66666666" in path or path.endswith("odd0")]
    if ours:  # whatever its name is by now
        return ours[0]
    member = {Kind.POOL: "DefineStoragePool"}.get(kind, f"Define{kind.value.capitalize()}")
    return str(await client.call(HOST, f"{SERVICE}.Connection", member, "sa{sv}", [MADE[kind], {}]))


async def failure_of(client: Client, *call: Any) -> str:
    try:
        await client.call(*call)
    except CallFailed as failure:
        return str(failure)
    return ""


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=[f"{kind}-{row.name}" for kind, row in ROWS])
async def test_what_means_nothing_has_an_error_of_its_own(
    user: Client, service: Daemon, kind: Kind, row: Operation
) -> None:
    member = member_of(kind, row)
    signature = "".join(each.type for each in row.arguments) + "a{sv}"
    for arguments, options in calls(row) if member else ():
        path = await target(user, kind)
        if not path:
            pytest.skip(f"the test driver has no {kind}")
        body = [*(plain(user, value) for value in arguments), plain(user, options)]
        failure = await failure_of(user, path, INTERFACE_OF[kind], member, signature, body)
        assert not failure or failure.startswith(f"{SERVICE}.Error."), (arguments, options, failure)
    assert "Traceback" not in service.log()

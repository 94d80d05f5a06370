"""Every operation on a real host: an effect is there for a read that follows the reply, and an error has its
own name.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from tests.bus.conftest import NODE
from tests.support.client import PROPERTIES, ROOT, SERVICE, CallFailed, Client, wait_until
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon
from tests.support.guest_agent import GuestAgent
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.operation_examples import AGENT, DEFAULT, NOT_HERE, QEMU, STORIES, TEST, Step, Story
from virtbridge.bus.names import INTERFACE_OF
from virtbridge.model.keys import Kind
from virtbridge.model.operations import OPERATIONS, Operation

pytestmark = pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")


def row_of(step: Step) -> Operation:
    (row,) = [
        row for row in OPERATIONS[step.kind].values() if row.name.replace("-", "") == step.member.lower()
    ]
    return row


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(host: Libvirtd, module_bus: BusDaemon) -> AsyncIterator[Client]:
    hosts = {TEST: f"test://{NODE}", DEFAULT: host.uri(), QEMU: host.qemu_uri}
    daemon = await Daemon.start(module_bus.address, hosts)
    client = await Client.connect(module_bus.address)
    yield client
    await client.close()
    await daemon.stop()


@pytest.fixture
def story(request: pytest.FixtureRequest, host: Libvirtd) -> Iterator[Story]:
    """With the agent that it needs."""
    found: Story = STORIES[request.param]
    if not found.agent:
        yield found
        return
    with GuestAgent(host.folder, found.agent) as agent:
        steps = (replace(step, arguments=with_agent(step.arguments, agent)) for step in found.steps)
        yield replace(found, steps=tuple(steps))


def with_agent(arguments: tuple[Any, ...], agent: GuestAgent) -> tuple[Any, ...]:
    return tuple(
        value.replace(AGENT, agent.devices) if isinstance(value, str) else value for value in arguments
    )


def plain(client: Client, value: Any) -> Any:
    """An argument, with the variants of a{sv}."""
    if isinstance(value, dict):
        return {name: client.variant(each.type, each.value) for name, each in value.items()}
    return value


async def shows(client: Client, path: str, step: Step) -> bool:
    interface = INTERFACE_OF[step.kind]
    return {name: await client.get(path, interface, name) for name in step.shows} == dict(step.shows)


async def make(client: Client, paths: Mapping[str, str], step: Step) -> Any:
    path, interface, row = paths[step.on], INTERFACE_OF[step.kind], row_of(step)
    if step.member == "SetAutostart":
        value = client.variant("b", step.arguments[0])
        return await client.call(path, PROPERTIES, "Set", "ssv", [interface, "Autostart", value])
    types = {option.name: option.type for option in row.options}
    options = {name: client.variant(types[name], value) for name, value in step.options.items()}
    signature = "".join(argument.type for argument in row.arguments) + "a{sv}"
    arguments = [plain(client, value) for value in step.arguments]
    return await client.call(path, interface, step.member, signature, [*arguments, options])


async def made(client: Client, paths: Mapping[str, str], step: Step) -> tuple[Any, str]:
    """The answer, or the text and the name of the error."""
    try:
        return await make(client, paths, step), ""
    except CallFailed as failure:
        return failure.text, failure.name


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("story", STORIES, indirect=True)
async def test_story(user: Client, story: Story) -> None:
    paths = {"connection": f"{ROOT}/{story.host}"}
    before = set(await user.managed_objects())
    for number, step in enumerate(story.steps):
        what = f"step {number}: {step.on}.{step.member}"
        answer, failure = await made(user, paths, step)
        assert failure == (f"{SERVICE}.Error.{step.error}" if step.error else ""), f"{what}: {answer}"
        if failure:
            continue
        if step.makes:
            paths[step.makes] = answer
        assert step.answer in (..., answer), what
        assert {key: answer[key] for key in step.has} == dict(step.has), what
        # The guest's own effect comes later than the operation's reply.
        if step.member == "Shutdown" or "AgentConnected" in step.shows:
            await wait_until(partial(shows, user, paths[step.on], step), what)
        assert await shows(user, paths[step.on], step), what
    left = set(await user.managed_objects()) - before
    assert {path for path in left if "/interface/" not in path} == set()


def test_every_row_has_an_example() -> None:
    wanted = {
        (kind, row.name)
        for kind, rows in OPERATIONS.items()
        for row in rows.values()
        if kind is not Kind.JOB and row.course is None and not row.internal
    }
    steps = [step for story in STORIES.values() for step in story.steps]
    good = {(step.kind, row_of(step).name) for step in steps if not step.error}
    tried = {(step.kind, row_of(step).name) for step in steps}
    assert sorted(wanted - good - NOT_HERE.keys()) == []
    assert sorted(NOT_HERE.keys() - tried) == []
    assert sorted(NOT_HERE.keys() & good) == []

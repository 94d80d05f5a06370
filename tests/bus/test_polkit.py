"""Authorization by the real polkitd: what its rules say holds, and whatever happens to it opens nothing."""

import asyncio
import os
import pwd
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support import polkitd as support
from tests.support.client import PROPERTIES, ROOT, SERVICE, CallFailed, Client, error_of, wait_until
from tests.support.daemon import REPOSITORY, Daemon
from tests.support.dbus_daemon import BusDaemon, dbus_daemon
from tests.support.polkitd import Agent, Polkitd, polkitd
from virtbridge.bus.contract import load_contract
from virtbridge.bus.polkit import Answer, Deadlines, NoAnswer, Polkit
from virtbridge.bus.rights import CONFIGURE, INCLUDED, READ, RIGHTS, action_of
from virtbridge.wire.link import Link

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not support.is_available(), reason="needs root, polkitd and unshare"
)

NODE = Path(__file__).parents[1] / "data" / "node.xml"
LAB = f"{ROOT}/lab"
ALICE, BOB, CAROL = "daemon", "nobody", "games"  # known to the machine, or the bus would not let them in
TIMEOUT_S = 20.0
ACTION = action_of(CONFIGURE)
BUS_POLICIES = [REPOSITORY / "dbus" / "org.virtbridge1.conf", support.POLICY]

# Alice may have one domain started with the host, and Carol may do what an administrator authenticates for.
RULES = f"""
polkit.addAdminRule(function(action, subject) {{ return ["unix-user:0"]; }});
polkit.addRule(function(action, subject) {{
    if (subject.user === "{CAROL}") return polkit.Result.AUTH_ADMIN;
    if (action.id === "org.virtbridge1.configure" && subject.user === "{ALICE}" &&
        action.lookup("connection") === "lab" && action.lookup("kind") === "domain" &&
        action.lookup("name") === "web" && action.lookup("operation") === "SetAutostart")
        return polkit.Result.YES;
    return polkit.Result.NO;
}});
"""


@dataclass
class Stage:
    bus: BusDaemon
    polkitd: Polkitd
    daemon: Daemon
    root: Client

    async def domain(self, name: str) -> str:
        [path] = await self.root.call(ROOT, f"{SERVICE}.Manager", "FindDomains", "sa{sv}", [name, {}])
        return str(path)

    async def set_autostart(self, user: str, path: str, value: bool, *, interactive: bool = False) -> str:
        """The error's text, or an empty string."""
        return await ended(self.call(user, path, value, interactive=interactive))

    def call(
        self, user: str, path: str, value: bool, *, interactive: bool, waits: bool = False
    ) -> subprocess.Popen[str]:
        """busctl as this user. waits: it makes the call after a line on its standard input."""
        words = [
            "busctl", f"--address={self.bus.address}", "--timeout=60",
            f"--allow-interactive-authorization={'yes' if interactive else 'no'}", "call",
            SERVICE, path, PROPERTIES, "Set", "ssv", f"{SERVICE}.Domain", "Autostart", "b",
            "true" if value else "false",
        ]  # fmt: skip
        return subprocess.Popen(
            ["sh", "-c", 'read -r _; exec "$@"', "-", *words] if waits else words,
            user=user, group=user if user != "nobody" else "nogroup", extra_groups=[],
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    async def autostart(self, path: str) -> bool:
        return bool(await self.root.get(path, f"{SERVICE}.Domain", "Autostart"))


@contextmanager
def as_user(name: str) -> Iterator[None]:
    """What connects to a bus meanwhile is this user's."""
    number = pwd.getpwnam(name).pw_uid
    os.setresuid(number, number, 0)  # some libraries tell the bus the real one
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


async def connected_as(name: str, bus: BusDaemon) -> Link:
    with as_user(name):
        return await Link.connect(bus.address)


def autostart(client: Client) -> list[Any]:
    """The arguments of Properties.Set."""
    return [f"{SERVICE}.Domain", "Autostart", client.variant("b", True)]


async def ended(process: subprocess.Popen[str]) -> str:
    _, error = await asyncio.to_thread(process.communicate, None, TIMEOUT_S)
    assert bool(error) is bool(process.returncode), error
    return str(error)


@asynccontextmanager
async def staged(rules: str = RULES) -> AsyncIterator[Stage]:
    with dbus_daemon(system=True, policies=BUS_POLICIES) as bus:
        async with polkitd(bus, rules) as authority:
            daemon = await Daemon.start(bus.address, {"lab": f"test://{NODE}"}, session=False)
            root = await Client.connect(bus.address)
            yield Stage(bus, authority, daemon, root)
            await root.close()
            await daemon.stop()


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


async def test_a_rule_is_about_one_user_one_object_and_one_operation(stage: Stage) -> None:
    web, db = await stage.domain("web"), await stage.domain("db")
    assert await stage.set_autostart(ALICE, web, True) == ""
    assert await stage.autostart(web) is True
    for user, path in ((ALICE, db), (BOB, web), (BOB, db)):
        assert "does not have the right 'configure'" in await stage.set_autostart(user, path, True)
        assert "right=configure: polkit says no" in stage.daemon.log()
    assert await stage.autostart(db) is False
    with as_user(ALICE):
        alice = await Client.connect(stage.bus.address)
    secure = {"secure": alice.variant("b", True)}
    assert await error_of(alice, web, f"{SERVICE}.Domain", "GetXml", "a{sv}", [secure]) == "NotAuthorized"
    assert await error_of(alice, ROOT, f"{SERVICE}.Manager", "CloseConnection", "oa{sv}", [LAB, {}]) == (
        "NotAuthorized"
    )
    assert await alice.get(web, f"{SERVICE}.Domain", "Name") == "web"
    await alice.close()


async def test_authentication_is_asked_for_only_where_the_caller_allows_it(stage: Stage) -> None:
    web = await stage.domain("web")
    with as_user(CAROL):
        carol = await Client.connect(stage.bus.address)
    with pytest.raises(CallFailed) as caught:
        await carol.call(web, PROPERTIES, "Set", "ssv", autostart(carol))
    assert caught.value.name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
    await carol.close()
    answer = await stage.set_autostart(CAROL, web, True, interactive=True)
    assert "nobody has authenticated" in answer  # there is no agent
    assert await stage.autostart(web) is False


@asynccontextmanager
async def dialog(stage: Stage, path: str) -> AsyncIterator[tuple[Agent, subprocess.Popen[str]]]:
    """Carol's call, for which an administrator is asked for the password now."""
    agent = Agent(await Client.connect(stage.bus.address))
    with stage.call(CAROL, path, True, interactive=True, waits=True) as call:
        await agent.register(call.pid)
        assert call.stdin is not None
        call.stdin.write("now\n")
        call.stdin.flush()
        action, message = await asyncio.wait_for(agent.asked.get(), TIMEOUT_S)
        assert action == ACTION
        assert "change the configuration of web on the connection lab" in message
        yield agent, call
        call.kill()
    await agent.close()


async def test_nobody_else_waits_while_a_password_is_typed(stage: Stage) -> None:
    web = await stage.domain("web")
    async with dialog(stage, web) as (agent, call):
        assert await stage.set_autostart(ALICE, web, False) == ""
        assert "does not have" in await stage.set_autostart(BOB, web, True)
        assert (await stage.root.counters())["queue.authorizing"] == 1
        assert call.poll() is None
        await agent.answer()
        assert await ended(call) == ""
    assert await stage.autostart(web) is True
    assert (await stage.root.counters())["queue.authorizing"] == 0


async def test_a_dialog_that_is_closed_is_a_refusal(stage: Stage) -> None:
    web = await stage.domain("web")
    async with dialog(stage, web) as (agent, call):
        await agent.dismiss()
        assert "does not have the right" in await ended(call)
    assert await stage.autostart(web) is False


async def test_the_dialog_goes_with_its_caller(stage: Stage) -> None:
    web = await stage.domain("web")
    async with dialog(stage, web) as (agent, call):
        call.kill()
        await asyncio.wait_for(agent.cancelled.wait(), TIMEOUT_S)
    # polkit and the service hear of it at the same time.
    await wait_until(lambda: questions(stage, 0), "the question is over")
    assert await stage.autostart(web) is False


async def test_what_went_while_the_password_was_typed_is_not_changed(stage: Stage) -> None:
    web = await stage.domain("web")
    async with dialog(stage, web) as (agent, call):
        await stage.root.call(ROOT, f"{SERVICE}.Manager", "CloseConnection", "oa{sv}", [LAB, {}])
        await agent.answer()
        assert "is not the object any more" in await ended(call)


async def test_the_end_of_the_service_ends_the_dialog(stage: Stage) -> None:
    async with dialog(stage, await stage.domain("web")) as (agent, call):
        stage.daemon.process.terminate()
        assert "cancelled" in await ended(call)
        await asyncio.wait_for(agent.cancelled.wait(), TIMEOUT_S)


async def test_a_polkit_that_ends_opens_nothing_and_may_come_back(stage: Stage) -> None:
    web = await stage.domain("web")
    async with dialog(stage, web) as (_, call):
        stage.polkitd.kill()
        assert "could not be asked for" in await ended(call)
    assert "only root has the right 'configure'" in await stage.set_autostart(ALICE, web, True)
    assert await stage.autostart(web) is False
    await stage.root.call(web, PROPERTIES, "Set", "ssv", autostart(stage.root))  # root is no question
    await stage.polkitd.start(stage.root)
    assert await stage.set_autostart(ALICE, web, False) == ""
    assert await stage.autostart(web) is False


async def test_a_polkit_that_hangs_holds_up_nobody_s_reading(stage: Stage) -> None:
    web = await stage.domain("web")
    stage.polkitd.pause()
    with as_user(BOB):
        bob = await Client.connect(stage.bus.address)
    calls = [
        asyncio.ensure_future(error_of(bob, web, PROPERTIES, "Set", "ssv", autostart(bob))) for _ in range(40)
    ]
    await wait_until(lambda: questions(stage, 16), "as many are asked about as one client may have")
    assert await bob.get(web, f"{SERVICE}.Domain", "Name") == "web"
    await stage.root.call(web, PROPERTIES, "Set", "ssv", autostart(stage.root))
    stage.polkitd.resume()
    assert set(await asyncio.gather(*calls)) == {"NotAuthorized"}
    await bob.close()


async def questions(stage: Stage, number: int) -> bool:
    return (await stage.root.counters())["queue.authorizing"] == number


async def test_a_question_has_a_deadline() -> None:
    with dbus_daemon(system=True, policies=BUS_POLICIES) as bus:
        async with polkitd(bus, RULES) as authority:
            asker, caller = await Link.connect(bus.address), await connected_as(CAROL, bus)
            authority.pause()
            with pytest.raises(NoAnswer, match="has not answered"):
                await Polkit(asker, Deadlines(answer_s=0.05)).check(
                    caller.unique_name, ACTION, {}, interactive=True
                )
            authority.resume()
            asked = Polkit(asker).check(caller.unique_name, ACTION, {}, interactive=False)
            assert await asked is Answer.AUTHENTICATE
            asker.close()
            caller.close()


async def test_a_dialog_that_nobody_answers_is_closed(stage: Stage) -> None:
    async with dialog(stage, await stage.domain("web")) as (agent, _call):
        asker = await Link.connect(stage.bus.address)
        polkit = Polkit(asker, Deadlines(person_s=0.05))
        with pytest.raises(NoAnswer, match="has not answered"):
            await polkit.check(await caller_of(stage), ACTION, {}, interactive=True)
        await asyncio.wait_for(agent.cancelled.wait(), TIMEOUT_S)
        asker.close()


async def caller_of(stage: Stage) -> str:
    """The unique name of Carol's busctl."""
    bus = "org.freedesktop.DBus"
    number = pwd.getpwnam(CAROL).pw_uid
    for name in await stage.root.call("/", bus, "ListNames", destination=bus):
        user = await stage.root.call("/", bus, "GetConnectionUnixUser", "s", [name], destination=bus)
        if name.startswith(":") and user == number:
            return str(name)
    raise AssertionError("she is not on the bus")


@pytest.mark.parametrize(("owner", "trusted"), [(ALICE, True), (BOB, False)])
async def test_the_service_s_user_may_ask_because_the_actions_say_so(owner: str, trusted: bool) -> None:
    """As under systemd, where the service is not root."""
    with dbus_daemon(system=True, policies=BUS_POLICIES) as bus:
        async with polkitd(bus, RULES, f"unix-user:{owner}"):
            asker, caller = await connected_as(ALICE, bus), await connected_as(CAROL, bus)
            asked = Polkit(asker).check(caller.unique_name, ACTION, {"name": "web"}, interactive=False)
            if trusted:
                assert await asked is Answer.AUTHENTICATE
            else:
                with pytest.raises(NoAnswer, match="trusted"):
                    await asked
            asker.close()
            caller.close()


async def test_rights_that_are_included_need_no_rule_of_their_own() -> None:
    rules = """polkit.addRule(function(action, subject) {
        return action.id === "org.virtbridge1.configure" ? polkit.Result.YES : polkit.Result.NO; });"""
    with dbus_daemon(system=True, policies=BUS_POLICIES) as bus:
        async with polkitd(bus, rules):
            asker, caller = await Link.connect(bus.address), await connected_as(BOB, bus)
            for right in RIGHTS:
                if right != READ:
                    included = right == CONFIGURE or right in INCLUDED[CONFIGURE]
                    answer = await Polkit(asker).check(
                        caller.unique_name, action_of(right), {}, interactive=False
                    )
                    assert (right, answer) == (right, Answer.YES if included else Answer.NO)
            asker.close()
            caller.close()


@pytest.mark.parametrize("name", ["50-virtbridge-group.rules", "50-virtbridge-one-domain.rules"])
async def test_the_examples_grant_what_they_say(name: str) -> None:
    text = (REPOSITORY / "dbus" / "examples" / name).read_text()
    rules = text.replace("virtbridge-admin", "daemon").replace("alice", ALICE)
    everything = "group" in name
    web = {"connection": "qemu", "kind": "domain", "name": "web", "operation": "Start"}
    with dbus_daemon(system=True, policies=BUS_POLICIES) as bus:
        async with polkitd(bus, rules):
            asker = await Link.connect(bus.address)
            alice, bob = await connected_as(ALICE, bus), await connected_as(BOB, bus)

            async def may(caller: Link, right: str, **others: str) -> bool:
                asked = Polkit(asker).check(
                    caller.unique_name, action_of(right), web | others, interactive=False
                )
                return await asked is Answer.YES

            assert await may(alice, "control")
            assert await may(alice, "control", operation="Shutdown")
            assert await may(alice, "control", operation="Reset") is everything
            assert await may(alice, "control", name="db") is everything
            assert await may(alice, "control", kind="network") is everything
            assert await may(alice, "control", connection="lab") is everything
            assert await may(alice, "read-secrets") is everything
            assert not await may(bob, "control")
            for link in (asker, alice, bob):
                link.close()


def members_beyond_reading() -> Iterator[tuple[str, str, str, str]]:
    """All that everybody may not: the interface whose object it is, the interface and name of the member that
    is called, and its signature. Writing a property is a call of Set.
    """
    for name, interface in load_contract(SERVICE).items():
        for method in interface.methods.values():
            if method.access != READ:
                yield name, name, method.name, method.in_signature
        for prop in interface.properties.values():
            if prop.access:
                yield name, PROPERTIES, f"Set {prop.name} {prop.signature}", "ssv"


def any_value(client: Client, signature: str) -> Any:
    values = {"s": "", "o": ROOT, "b": False, "d": 0.0, "v": client.variant("b", True)}
    return values.get(signature, {} if signature.startswith("a{") else [] if signature.startswith("a") else 0)


async def refusals(client: Client, paths: dict[str, str]) -> set[str]:
    """The errors of all calls that are not everybody's, made at once."""
    calls = []
    for of, interface, member, signature in members_beyond_reading():
        if of not in paths:
            continue
        values = [any_value(client, each.signature) for each in client.module.SignatureTree(signature).types]
        if interface == PROPERTIES:
            member, prop, kind = member.split()
            values = [of, prop, client.variant(kind, any_value(client, kind))]
        calls.append(error_of(client, paths[of], interface, member, signature, values))
    return set(await asyncio.gather(*calls))


async def libvirt_calls(stage: Stage) -> dict[str, int]:
    return {name: n for name, n in (await stage.root.counters()).items() if name.startswith("libvirt.")}


async def test_a_stranger_does_nothing_whatever_happens_to_polkit(stage: Stage) -> None:
    paths = {name: path for path, each in (await stage.root.managed_objects()).items() for name in each}
    paths[f"{SERVICE}.Manager"] = ROOT
    with as_user(BOB):
        bob = await Client.connect(stage.bus.address)
    before = await libvirt_calls(stage)
    assert await refusals(bob, paths) == {"NotAuthorized"}
    stage.polkitd.pause()
    calls = asyncio.ensure_future(refusals(bob, paths))
    number = min(16, sum(each[0] in paths for each in members_beyond_reading()))
    await wait_until(lambda: questions(stage, number), "they are asked about")
    assert await bob.get(ROOT, f"{SERVICE}.Manager", "Connections") == [LAB]
    stage.polkitd.kill()
    assert await calls <= {"NotAuthorized", "AuthorizationFailed"}
    assert await refusals(bob, paths) == {"NotAuthorized"}
    assert await libvirt_calls(stage) == before
    assert await stage.root.get(ROOT, f"{SERVICE}.Manager", "Connections") == [LAB]
    await bob.close()

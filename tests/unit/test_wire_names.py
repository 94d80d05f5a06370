"""Match rules and owners of names, in the orders that a real bus shows seldom."""

import pytest

from virtbridge.wire import bodies
from virtbridge.wire.errors import BusError
from virtbridge.wire.framing import LITTLE, SIGNAL, Incoming
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.name_owners import NameOwners
from virtbridge.wire.names import BUS_NAME, BUS_PATH, NAME_HAS_NO_OWNER
from virtbridge.wire.subscriptions import Listener

NAME = "org.example.Service"


def signal(*values: str, path: str = BUS_PATH, member: str = "NameOwnerChanged") -> Incoming:
    body = bodies.pack_strings(values)
    return Incoming(
        SIGNAL, 0, 1, path, BUS_NAME, member, BUS_NAME, "", "s" * len(values), "", 0, body, LITTLE
    )


class Bus:
    """Answers GetNameOwner; `before` happens after the bus has answered and before the answer is read."""

    def __init__(self, answer: str | BusError, *before: tuple[str, str, str]) -> None:
        self.answer = answer
        self.before = before
        self.asked: list[str] = []
        self.listeners: list[Listener] = []

    async def ask(self, member: str, name: str) -> list[str]:
        self.asked.append(f"{member} {name}")
        for change in self.before:
            self.announce(*change)
        if isinstance(self.answer, BusError):
            raise self.answer
        return [self.answer]

    async def subscribe(self, rule: MatchRule, listener: Listener) -> None:
        assert rule.args == {0: NAME}
        self.listeners.append(listener)

    def announce(self, *change: str) -> None:
        for listener in self.listeners:
            listener(signal(*change))


@pytest.mark.parametrize(
    ("bus", "owner"),
    [
        (Bus(":1.5"), ":1.5"),
        (Bus(BusError(NAME_HAS_NO_OWNER, "")), ""),
        (Bus(":1.5", (NAME, ":1.5", "")), ""),
        (Bus(":1.5", (NAME, ":1.5", ""), (NAME, "", ":1.9")), ":1.9"),
    ],
)
async def test_what_is_announced_is_newer_than_the_answer(bus: Bus, owner: str) -> None:
    owners = NameOwners(bus.ask, bus.subscribe)
    assert await owners.follow(NAME) == owner
    assert await owners.follow(NAME) == owner
    assert bus.asked == [f"GetNameOwner {NAME}"]
    bus.announce(NAME, owner, ":1.77")
    assert owners.owner(NAME) == ":1.77"


async def test_a_name_whose_owner_could_not_be_had_is_asked_for_again() -> None:
    bus = Bus(BusError("a.b.Failed", "no memory"))
    owners = NameOwners(bus.ask, bus.subscribe)
    with pytest.raises(BusError):
        await owners.follow(NAME)
    bus.answer = ":1.5"
    assert await owners.follow(NAME) == ":1.5"
    assert len(bus.listeners) == 1


def test_a_rule_is_quoted_as_the_bus_reads_it() -> None:
    rule = MatchRule(sender=NAME, path_namespace="/a", args={0: "it's", 3: ""})
    assert rule.text == rf"type='signal',sender='{NAME}',path_namespace='/a',arg0='it'\''s',arg3=''"


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (MatchRule(), True),
        (MatchRule(path="/a"), False),
        (MatchRule(path_namespace="/a"), True),
        (MatchRule(path_namespace="/a/"), False),
        (MatchRule(path_namespace="/"), True),
        (MatchRule(path_namespace="/a/bc"), False),
        (MatchRule(interface=BUS_NAME, member="Other"), False),
        (MatchRule(sender=":1.9"), False),
        (MatchRule(sender=NAME), False),
        (MatchRule(args={1: "y"}), True),
        (MatchRule(args={2: "y"}), False),
    ],
)
def test_what_a_rule_fits(rule: MatchRule, fits: bool) -> None:
    assert rule.fits(signal("x", "y", path="/a/b"), owner="") == fits
    assert not MatchRule(args={0: "x"}).fits(
        Incoming(SIGNAL, 0, 1, "/a", "a.b", "Do", BUS_NAME, "", "s", "", 0, b"bad", LITTLE), owner=""
    )

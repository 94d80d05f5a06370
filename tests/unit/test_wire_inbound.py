"""Fairness: who is served next, how much per turn, and what is refused."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.limiter import Bounds, Portions
from virtbridge.wire import framing
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.framing import Incoming
from virtbridge.wire.inbound import Inbound, InboundLimits


def call(
    sender: str, serial: int, body: bytes = b"", fds: tuple[int, ...] = (), oversized: bool = False
) -> Incoming:
    return Incoming(
        framing.METHOD_CALL,
        0,
        serial,
        "/x",
        "a.b",
        "Do",
        sender,
        "",
        "",
        "",
        0,
        body,
        framing.LITTLE,
        fds,
        oversized,
    )


def limits(
    turn_calls: int, calls: Bounds | None = None, size_bytes: Bounds | None = None, turn_s: float = 1.0
) -> InboundLimits:
    whole = Portions().of(1 << 30)
    return InboundLimits(turn_calls, turn_s, BacklogLimits(calls or whole, size_bytes or whole))


class Desk:
    """An Inbound with its clock in the test's hand; every call handled takes `cost` seconds."""

    def __init__(self, limits: InboundLimits, cost: float = 0.0) -> None:
        self.now = 0.0
        self.cost = cost
        self.handled: list[tuple[str, int]] = []
        self.refused: list[tuple[str, int, str]] = []
        self.inbound = Inbound(self._handle, self._refuse, limits, lambda: self.now)

    def _handle(self, message: Incoming) -> None:
        self.now += self.cost
        self.handled.append((message.sender, message.serial))

    def _refuse(self, message: Incoming, reason: str) -> None:
        self.refused.append((message.sender, message.serial, reason))

    def serve_all(self) -> int:
        turns = 0
        more = True
        while more:
            self.inbound.begin_turn()
            more = self.inbound.serve()
            turns += 1
        return turns


def test_without_backlog_calls_are_handled_at_once_and_in_order() -> None:
    desk = Desk(InboundLimits())
    for serial in range(100):
        desk.inbound.accept(call(":1.1", serial))
    assert desk.handled == [(":1.1", serial) for serial in range(100)]
    assert desk.inbound.queued == 0


def test_a_turn_ends_by_count() -> None:
    desk = Desk(InboundLimits(turn_calls=10))
    for serial in range(25):
        desk.inbound.accept(call(":1.1", serial))
    assert len(desk.handled) == 10
    assert desk.inbound.queued == 15
    assert desk.serve_all() == 2
    assert desk.handled == [(":1.1", serial) for serial in range(25)]


def test_a_turn_ends_by_time() -> None:
    desk = Desk(InboundLimits(turn_calls=10_000, turn_s=0.01), cost=0.001)
    for serial in range(1000):
        desk.inbound.accept(call(":1.1", serial))
    assert len(desk.handled) <= 11
    before = len(desk.handled)
    desk.inbound.begin_turn()
    assert desk.inbound.serve()
    assert len(desk.handled) - before <= 11


def test_a_costly_call_is_the_last_of_its_turn() -> None:
    desk = Desk(InboundLimits(turn_s=0.008), cost=0.08)
    for serial in range(20):
        desk.inbound.accept(call(":1.1", serial))
    assert len(desk.handled) == 1
    assert desk.serve_all() == 19


def test_a_flood_does_not_delay_another_client() -> None:
    desk = Desk(limits(10))
    for serial in range(20_000):
        desk.inbound.accept(call(":1.1", serial))
    desk.inbound.accept(call(":1.2", 1))
    desk.inbound.accept(call(":1.3", 1))
    desk.inbound.begin_turn()
    desk.inbound.serve()
    assert (":1.2", 1) in desk.handled
    assert (":1.3", 1) in desk.handled
    assert len(desk.handled) == 20


def test_above_the_cap_is_refused_and_others_are_not() -> None:
    desk = Desk(limits(1, Portions().of(1000, per_client=3)))
    for serial in range(10):
        desk.inbound.accept(call(":1.1", serial))
    desk.inbound.accept(call(":1.2", 1))
    assert [serial for _, serial, _ in desk.refused] == [4, 5, 6, 7, 8, 9]
    assert "one client, 3 calls" in desk.refused[0][2]
    desk.serve_all()
    assert desk.handled == [(":1.1", 0), (":1.1", 1), (":1.2", 1), (":1.1", 2), (":1.1", 3)]


def test_oversized_is_refused_without_waiting() -> None:
    desk = Desk(InboundLimits(turn_calls=0))
    desk.inbound.accept(call(":1.1", 1, oversized=True))
    assert desk.refused == [(":1.1", 1, "the message is too large")]


def test_paused_lets_everything_wait() -> None:
    desk = Desk(InboundLimits())
    desk.inbound.paused = True
    desk.inbound.accept(call(":1.1", 1))
    assert not desk.inbound.serve()
    assert not desk.handled
    desk.inbound.paused = False
    assert not desk.inbound.serve()
    assert desk.handled == [(":1.1", 1)]


def test_bytes_are_bounded() -> None:
    desk = Desk(limits(0, size_bytes=Portions().of(10_000)))
    for serial in range(6):
        assert desk.inbound.full == (serial > 5)
        desk.inbound.accept(call(":1.1", serial, bytes(1000)))
    assert not desk.inbound.roomy
    desk.inbound.close()
    assert desk.inbound.roomy
    assert desk.inbound.queued_bytes == 0


def test_calls_of_the_departed_are_dropped_with_their_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd"))
    desk = Desk(InboundLimits(turn_calls=0))
    desk.inbound.accept(call(":1.1", 1, fds=(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),)))
    desk.inbound.accept(call(":1.2", 2))
    desk.inbound.drop(":1.1")
    desk.inbound.drop(":1.9")
    assert len(os.listdir("/proc/self/fd")) == before
    desk.inbound._limits = InboundLimits()
    desk.serve_all()
    assert desk.handled == [(":1.2", 2)]


@pytest.mark.parametrize("turn_calls", [1, 3, 7])
@given(senders=st.lists(st.sampled_from("abcd"), max_size=60))
def test_every_call_once_and_each_senders_in_order(turn_calls: int, senders: list[str]) -> None:
    desk = Desk(InboundLimits(turn_calls=turn_calls))
    for serial, sender in enumerate(senders):
        if serial % 9 == 8:
            desk.inbound.begin_turn()
            desk.inbound.serve()
        desk.inbound.accept(call(sender, serial))
    desk.serve_all()
    assert sorted(serial for _, serial in desk.handled) == list(range(len(senders)))
    for sender in "abcd":
        own = [serial for who, serial in desk.handled if who == sender]
        assert own == sorted(own)
    assert desk.inbound.queued_bytes == 0


class Users:
    """Whose users are not known until the test says so; a client in `full` has no room for replies."""

    def __init__(self, desk_limits: InboundLimits) -> None:
        self.user_of: dict[str, int] = {}
        self.full: set[str] = set()
        self.handled: list[tuple[int, str, int]] = []
        self.refused: list[int] = []
        self.inbound = Inbound(
            lambda message: self.handled.append((message.user, message.sender, message.serial)),
            lambda message, _reason: self.refused.append(message.serial),
            desk_limits,
            user_of=self.user_of.get,
            has_room=lambda _user, sender: sender not in self.full,
        )

    def identify(self, sender: str, user: int) -> None:
        self.user_of[sender] = user
        self.inbound.identified(sender, user)

    def serve(self) -> bool:
        self.inbound.begin_turn()
        return self.inbound.serve()


def test_calls_wait_until_the_user_is_known_and_delay_nobody_who_is() -> None:
    users = Users(limits(100))
    users.user_of[":1.2"] = 1002
    for serial in range(3):
        users.inbound.accept(call(":1.1", serial))
    users.inbound.accept(call(":1.2", 9))
    assert users.handled == [(1002, ":1.2", 9)]
    users.serve()
    users.identify(":1.1", 1001)
    users.inbound.accept(call(":1.1", 3))
    users.serve()
    assert users.handled[1:] == [(1001, ":1.1", serial) for serial in range(4)]
    assert users.inbound.queued == 0


def test_who_comes_and_goes_all_the_time_takes_nothing_from_who_is_known() -> None:
    users = Users(limits(0, Portions(25, 10).of(40)))
    users.user_of[":1.2"] = 1002
    for serial in range(100):
        users.inbound.accept(call(f":2.{serial}", serial))
    assert users.refused == list(range(10, 100))
    for serial in range(10):
        users.inbound.accept(call(":1.2", 1000 + serial))
    assert len(users.refused) == 90
    for serial in range(100):
        users.inbound.drop(f":2.{serial}")
    assert users.inbound.queued == 10


def test_more_connections_give_a_user_no_more_turns() -> None:
    users = Users(limits(0))
    for number in range(64):
        users.user_of[f":1.{number}"] = 1001
        for serial in range(10):
            users.inbound.accept(call(f":1.{number}", serial))
    users.user_of[":2.1"] = 1002
    users.inbound.accept(call(":2.1", 1))
    users.inbound._limits = limits(2)
    users.serve()
    assert (1002, ":2.1", 1) in users.handled


def test_a_user_s_calls_are_bounded_in_number_and_bytes_whatever_the_connections() -> None:
    users = Users(limits(0, Portions(25).of(400), Portions(25).of(400_000)))
    for number in range(64):
        users.user_of[f":1.{number}"] = 1001
        for _ in range(4):
            users.inbound.accept(call(f":1.{number}", number))
    assert users.inbound.queued == 100
    users.user_of[":2.1"] = 1002
    for serial in range(10):
        users.inbound.accept(call(":2.1", serial, bytes(20_000)))
    assert users.inbound.queued == 100 + 4


def test_who_does_not_read_its_replies_waits_and_nobody_else_does() -> None:
    users = Users(limits(100))
    users.user_of |= {":1.1": 1001, ":1.2": 1001}
    users.full.add(":1.1")
    for serial in range(5):
        users.inbound.accept(call(":1.1", serial))
    users.inbound.accept(call(":1.2", 7))
    assert not users.serve()
    assert users.handled == [(1001, ":1.2", 7)]
    users.full.clear()
    users.serve()
    assert users.handled[1:] == [(1001, ":1.1", serial) for serial in range(5)]


def test_the_descriptors_of_calls_that_wait_are_bounded_for_each_user() -> None:
    bounds = Portions(user_percent=50).of(64)
    whole = Portions().of(1 << 30)
    desk = Desk(InboundLimits(0, 1.0, BacklogLimits(whole, whole, bounds)))
    desk.inbound.user_of = {":1.1": 1000, ":1.2": 1001}.get
    for serial in range(100):
        fds = tuple(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(4))
        waiting = call(":1.1", serial, fds=fds)
        desk.inbound.accept(waiting)
        if desk.refused:
            waiting.discard()  # as the link does with what is refused
            break
    assert desk.refused[0][2].find("descriptors of calls that wait") > 0
    assert serial * 4 == 32
    desk.inbound.accept(call(":1.1", 200))  # one without descriptors may still wait
    desk.inbound.accept(call(":1.2", 1, fds=(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),)))
    assert len(desk.refused) == 1
    desk.inbound.drop(":1.1")  # what leaves gives its part back
    again = tuple(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(4))
    desk.inbound.accept(call(":1.1", 300, fds=again))
    assert len(desk.refused) == 1
    desk.inbound.close()

"""The registry of watches: the shortest interval wins, a change is announced once, and limits hold."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.cache.polling import Intervals
from virtbridge.cache.watches import KindsWanted, Watch, Watches, shortest_intervals
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Bounds, Portions
from virtbridge.model.keys import Kind

DOMAIN, NETWORK = frozenset({Kind.DOMAIN}), frozenset({Kind.NETWORK})


class Told:
    def __init__(self, per_client: int = 3, total: int = 5) -> None:
        self.calls: list[tuple[str, Intervals]] = []
        self.watches = Watches(
            "watches", Bounds(total, total, 0, per_client), shortest_intervals, self._changed
        )

    def _changed(self, connection: str, intervals: Intervals) -> None:
        self.calls.append((connection, intervals))

    def add(self, client: str, interval_s: float, kinds: Any = DOMAIN, connection: str = "c") -> int:
        return self.watches.add(Watch(1000, client, connection, KindsWanted(kinds, interval_s)))


def test_the_shortest_interval_wins_and_what_changes_nothing_is_not_told() -> None:
    told = Told()
    told.add(":1", 5)
    quick = told.add(":2", 2)
    told.add(":3", 3, DOMAIN | NETWORK)
    told.add(":3", 9)
    told.watches.end(":2", "c", quick)
    assert told.calls == [
        ("c", {Kind.DOMAIN: 5}),
        ("c", {Kind.DOMAIN: 2}),
        ("c", {Kind.DOMAIN: 2, Kind.NETWORK: 3}),
        ("c", {Kind.DOMAIN: 3, Kind.NETWORK: 3}),
    ]


def test_the_end_of_a_client_ends_its_registryof_all_connections() -> None:
    told = Told()
    told.add(":1", 5)
    told.add(":1", 6, NETWORK, "d")
    told.add(":2", 7, NETWORK, "d")
    told.calls.clear()
    told.watches.end_client(":1")
    assert sorted(told.calls) == [("c", {}), ("d", {Kind.NETWORK: 7})]
    told.watches.end_client(":1")
    assert len(told.calls) == 2
    assert len(told.watches) == 1


def test_the_end_of_a_connection_ends_its_watches() -> None:
    told = Told()
    number = told.add(":1", 5)
    told.add(":1", 5, DOMAIN, "d")
    told.calls.clear()
    told.watches.end_connection("c")
    assert told.calls == [("c", {})]
    with pytest.raises(BridgeError) as failure:
        told.watches.end(":1", "c", number)
    assert failure.value.kind is ErrorKind.NO_SUCH_OBJECT


def test_a_watch_belongs_to_its_client_and_connection() -> None:
    told = Told()
    number = told.add(":1", 5)
    for client, connection in ((":2", "c"), (":1", "d")):
        with pytest.raises(BridgeError) as failure:
            told.watches.end(client, connection, number)
        assert failure.value.kind is ErrorKind.NO_SUCH_OBJECT
    told.watches.end(":1", "c", number)
    assert told.add(":1", 5) != number


def test_limits_of_a_client_and_of_all() -> None:
    told = Told()
    numbers = [told.add(":1", 5) for _ in range(3)]
    with pytest.raises(BridgeError, match="one client, 3 watches") as failure:
        told.add(":1", 1)
    assert failure.value.kind is ErrorKind.LIMIT_EXCEEDED
    told.add(":2", 5)
    told.add(":3", 5)
    with pytest.raises(BridgeError, match="one user, 5 watches"):
        told.add(":4", 1)
    assert told.calls == [("c", {Kind.DOMAIN: 5})]
    told.watches.end(":1", "c", numbers[0])
    told.add(":4", 1)


clients, connections = st.sampled_from("xyz"), st.sampled_from("cd")
steps = st.one_of(
    st.tuples(
        st.just("add"),
        st.builds(
            Watch,
            st.just(0),
            clients,
            connections,
            st.builds(KindsWanted, st.frozensets(st.sampled_from(Kind)), st.integers(1, 5)),
        ),
    ),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("end_client"), clients),
    st.tuples(st.just("end_connection"), connections),
)


@given(st.lists(steps, max_size=40))
def test_what_was_last_told_is_what_the_registrycome_to(steps: list[tuple[str, Any]]) -> None:
    last: dict[str, Intervals] = {}
    registry = Watches("watches", Portions().of(100), shortest_intervals, last.__setitem__)
    watches: dict[int, Watch[KindsWanted]] = {}
    for step, value in steps:
        if step == "add":
            watches[registry.add(value)] = value
        elif step == "end":
            if value in watches:
                watch = watches.pop(value)
                registry.end(watch.client, watch.connection, value)
        else:
            field = step.removeprefix("end_")
            getattr(registry, step)(value)
            watches = {each: watch for each, watch in watches.items() if getattr(watch, field) != value}
        for connection in "cd":
            assert last.get(connection, {}) == dict(_shortest(watches, connection))
    assert len(registry) == len(watches)


def _shortest(watches: dict[int, Watch[KindsWanted]], connection: str) -> Iterator[tuple[Kind, float]]:
    for kind in Kind:
        found = [
            each.wanted.interval_s
            for each in watches.values()
            if each.connection == connection and kind in each.wanted.kinds
        ]
        if found:
            yield kind, min(found)

"""Statistics on the bus: watches, unicast samples, limits, and what they cost, with libvirt's test driver."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import time_ns
from typing import Any

import pytest

from tests.bus.test_budget import calls, daemon_with, node
from tests.support.client import ROOT, SERVICE, CallFailed, Client, plain, wait_until
from tests.support.costs import spent
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon

CONNECTION = f"{SERVICE}.Connection"
DOMAIN = f"{SERVICE}.Domain"
HOST = f"{ROOT}/host"
ERROR = f"{SERVICE}.Error."
LONG_MS = 3_600_000


async def watch(
    client: Client, interval_ms: int = 500, groups: tuple[str, ...] = (), path: str = HOST
) -> int:
    return int(await client.call(path, CONNECTION, "WatchStats", "uasa{sv}", [interval_ms, list(groups), {}]))


async def unwatch(client: Client, number: int) -> None:
    await client.call(HOST, CONNECTION, "UnwatchStats", "ua{sv}", [number, {}])


async def stats(client: Client, path: str, *groups: str, **options: Any) -> dict[str, Any]:
    given = {name.replace("_", "-"): client.variant("t", value) for name, value in options.items()}
    found = await client.call(path, DOMAIN, "GetStats", "asa{sv}", [list(groups), given])
    assert isinstance(found, dict)
    return found


def sampled(signal: Any) -> bool:
    return bool(signal.member == "StatsSampled")


@asynccontextmanager
async def configured(tmp_path: Path, text: str) -> AsyncIterator[tuple[Daemon, Client]]:
    file = tmp_path / "virtbridge.toml"
    file.write_text(text)
    with dbus_daemon() as bus:
        daemon = await Daemon.start(
            bus.address, {"host": node(tmp_path / "node.xml", 3)}, args=("--config", str(file))
        )
        client = await Client.connect(bus.address)
        try:
            yield daemon, client
        finally:
            await client.close()
            await daemon.stop()


async def test_samples_go_to_their_watchers_alone_until_they_end() -> None:
    async with daemon_with("test:///default", leaps=True) as (daemon, client), AsyncExitStack() as stack:
        other = await Client.connect(daemon.address)
        stack.push_async_callback(other.close)
        heard, overheard = await client.signals(wanted=sampled), await other.signals(wanted=sampled)
        number = await watch(client)
        first, second = await heard.next(), await heard.next()
        assert (first.path, first.interface) == (HOST, CONNECTION)
        assert second.args[0] > first.args[0]
        (path,) = (path for path in await client.managed_objects() if "/domain/" in path)
        values = second.args[1][path]
        assert values["state"] == "running"
        assert values["stuck"] is False
        assert 40 < values["cpu-guest-percent"] < 60  # the test driver's clock runs at half the time
        assert [vcpu["number"] for vcpu in map(plain, values["vcpus"])] == [0, 1]
        assert 0 < values["vcpus"][0]["percent"] <= 100
        assert values["disks"][0]["name"] == "vda"
        assert values["disks"][0]["read-bytes-per-second"] > 0
        assert values["net-rx-bytes-per-second"] == values["interfaces"][0]["rx-bytes-per-second"]
        assert values["memory-used"] == values["memory-available"] - values["memory-unused"]
        history = plain([list(row) for row in await history_of(client, path)])
        assert [row[0] for row in history][:2] == [first.args[0], second.args[0]]
        assert plain(history[1][1])["cpu-guest-percent"] == values["cpu-guest-percent"]
        await unwatch(client, number)
        assert (await client.counters())["queue.stats-watches"] == 0
        await wait_until(lambda: daemon.is_quiet(client), "a round that had begun is over")
        rounds = (await client.counters())["cache.stats-rounds"]
        await daemon.leap(client)
        assert (await client.counters())["cache.stats-rounds"] == rounds
        assert overheard.drain() == []


async def test_a_large_sample_comes_in_pieces_of_the_same_time(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 400)) as (_, client):
        heard = await client.signals(wanted=sampled)
        await watch(client)
        time_us, domains = (await heard.next()).args
        pieces = 1
        while len(domains) < 400:
            piece = (await heard.next()).args
            assert piece[0] == time_us
            assert not domains.keys() & piece[1].keys()
            domains |= piece[1]
            pieces += 1
        assert 1 < pieces < 10


async def history_of(client: Client, path: str, **options: Any) -> list[Any]:
    given = {name: client.variant("t", value) for name, value in options.items()}
    found = await client.call(HOST, CONNECTION, "GetStatsHistory", "oa{sv}", [path, given])
    assert isinstance(found, list)
    return found


async def test_fifty_watchers_cost_what_one_costs(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 5)) as (daemon, client), AsyncExitStack() as stack:
        crowd = []
        for _ in range(50):
            crowd.append(await Client.connect(daemon.address))
            stack.push_async_callback(crowd[-1].close)
        ears = [await one.signals(wanted=sampled) for one in crowd]
        await watch(crowd[0], LONG_MS)
        await ears[0].next()
        one = {name: count for name, count in calls(await client.counters()).items() if name in PER_DOMAIN}
        assert one["libvirt.info"] == 5
        for each in crowd[1:]:
            await watch(each, LONG_MS)
        assert spent(one, {k: v for k, v in calls(await client.counters()).items() if k in one}) == {}
        quick = await watch(client, 500)  # the shortest interval is everyone's
        samples = [await ear.next() for ear in ears]
        assert len({sample.args[0] for sample in samples}) == 1
        await unwatch(client, quick)

        async def one_round_s_calls() -> bool:
            counters = await client.counters()
            rounds = counters["cache.stats-rounds"]
            return all(counters[name] == count * rounds for name, count in one.items())

        await wait_until(one_round_s_calls, "each round cost what the first one did")


PER_DOMAIN = {"libvirt.info", "libvirt.memoryStats"}


async def test_a_client_that_vanishes_is_unwatched(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 1), leaps=True) as (daemon, client):
        passing = await Client.connect(daemon.address)
        await watch(passing)
        await watch(passing, LONG_MS)
        assert (await client.counters())["queue.stats-watches"] == 2

        async def sampled() -> bool:
            return "cache.stats-rounds" in await client.counters()

        # A counter has no name before it has counted: a client could leave before the first round is over.
        await wait_until(sampled, "a round is over")
        await passing.close()

        async def ended() -> bool:
            return (await client.counters())["queue.stats-watches"] == 0

        await wait_until(ended, "the watches end with their client")
        await wait_until(lambda: daemon.is_quiet(client), "a round that had begun is over")
        rounds = (await client.counters())["cache.stats-rounds"]
        await daemon.leap(client)
        assert (await client.counters())["cache.stats-rounds"] == rounds


async def test_fifty_questions_at_once_cost_one_and_later_ones_nothing(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 2)) as (_, client):
        path = next(path for path in await client.managed_objects() if "/domain/" in path)
        before = calls(await client.counters())
        answers = await asyncio.gather(
            *(stats(client, path, "cpu-total", "state", max_age=60_000) for _ in range(50))
        )
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["cpu-time-ns"] > 0
        assert answers[0]["vcpus-current"] == 1  # for the share of the guest's CPUs
        now = calls(await client.counters())
        assert spent(before, now).get("libvirt.info") == 1
        await stats(client, path, "state", max_age=60_000)
        assert spent(now, calls(await client.counters())) == {}
        await stats(client, path, "state", max_age=0)
        assert spent(now, calls(await client.counters())) != {}


async def test_what_is_refused(tmp_path: Path) -> None:
    text = "[stats]\nwatches_per_client = 2\nwatches = 3\n"
    async with configured(tmp_path, text) as (daemon, client), AsyncExitStack() as stack:
        other = await Client.connect(daemon.address)
        stack.push_async_callback(other.close)
        path = next(path for path in await client.managed_objects() if "/domain/" in path)

        async def fails(name: str, work: Any) -> None:
            with pytest.raises(CallFailed) as failure:
                await work
            assert failure.value.name == ERROR + name

        mine = [await watch(client, 0), await watch(client)]
        await fails("LimitExceeded", watch(client))
        await watch(other)
        await fails("LimitExceeded", watch(other))
        await fails("NoSuchObject", unwatch(other, mine[0]))
        await unwatch(client, mine[0])
        await fails("NoSuchObject", unwatch(client, mine[0]))
        await watch(other)
        await fails("InvalidArgument", watch(client, 500, ("cpu",)))
        await fails("InvalidArgument", stats(client, path, "everything"))
        await fails("InvalidArgument", stats(client, path, interval=1))
        await fails("NoSuchObject", history_of(client, HOST))
        await fails("NoSuchObject", history_of(client, f"{ROOT}/elsewhere/domain/{path.rpartition('/')[2]}"))


async def test_a_closed_connection_takes_its_watches_along(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 1)) as (_, client):
        args = ["more", "test:///default", {}]
        more = await client.call(ROOT, f"{SERVICE}.Manager", "OpenConnection", "ssa{sv}", args)
        ear = await client.signals(wanted=sampled)
        await watch(client, path=more)  # before it is ready
        await ear.next()
        await client.call(ROOT, f"{SERVICE}.Manager", "CloseConnection", "oa{sv}", [more, {}])
        counters = await client.counters()
        assert counters["queue.stats-watches"] == 0


async def test_always_on_with_a_history_for_who_comes_later(tmp_path: Path) -> None:
    text = "[stats]\nalways_interval_ms = 200\nhistory_samples = 4\n"
    async with configured(tmp_path, text) as (_, client):
        path = next(path for path in await client.managed_objects() if "/domain/" in path)

        async def full() -> bool:
            return len(await history_of(client, path)) == 4

        await wait_until(full, "the history is full")
        before = calls(await client.counters())
        rows = await history_of(client, path)
        later = await history_of(client, path, since=rows[1][0])
        assert later[0][0] > rows[1][0]
        assert set(spent(before, calls(await client.counters()))) <= {*PER_DOMAIN, "libvirt.state"}


async def test_a_sample_has_its_time_where_no_domain_is_active(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 0)) as (_daemon, client):
        heard = await client.signals(wanted=sampled)
        await watch(client)
        time_us, samples = (await heard.next()).args
        assert samples == {}
        assert abs(time_us - time_ns() // 1000) < 10_000_000

"""Starting: with ten thousand domains, and over slow links."""

import time

import libvirt

from tests.bench.cases.common import FAST, LABELS, NEXT, Scale
from tests.bench.services import Bridge, start_bridge
from tests.bench.stage import Stage, define, domain_xml, end, resident_mib, uri, wait_for
from tests.bench.table import Row
from tests.support.rawbus import RawBus


def many(stage: Stage, scale: Scale) -> list[Row]:
    """10,000 domains in the test driver behind libvirtd, whose memory is not ours: time, first listing,
    memory.
    """
    socket = stage.libvirtd()
    rows = {
        count: (
            Row(f"{count} domains: start to ready, without libvirt's own reading of its file", "s"),
            Row(f"{count} domains: first GetManagedObjects", "s"),
            Row(
                f"{count} domains: memory",
                "MiB",
                limits={FAST: 200, NEXT: 200} if count == scale.many else {},
            ),
        )
        for count in (scale.many // 10, scale.many)
    }
    for count, (ready, listed, memory) in rows.items():
        node = stage.fresh("node") / "node.xml"
        node.write_text("<node>" + "".join(domain_xml("test", number) for number in range(count)) + "</node>")
        began = time.perf_counter()
        target = f"test+unix://{node}?socket={socket}"
        libvirt.open(target).close()  # reading the file grows with the square of its domains, and is not ours
        opening_s = time.perf_counter() - began
        for label in LABELS:
            began = time.perf_counter()
            bridge = start_bridge(stage, label, label, target, timeout_s=300)
            ready.add(label, time.perf_counter() - began - opening_s)
            client = bridge.client()
            began = time.perf_counter()
            found = len(bridge.domains(client))
            listed.add(label, time.perf_counter() - began)
            memory.add(label, resident_mib(bridge.process.pid))
            client.close()
            end(bridge.process)
            if found != count:
                raise RuntimeError(f"{found} of {count} domains")
    return [row for group in rows.values() for row in group]


def far_sync(stage: Stage, scale: Scale) -> list[Row]:
    """First sync over slow links, in round trips from the moment the connection reached the other end."""
    near = stage.libvirtd()
    define(near, "qemu", scale.domains)
    rows = []
    for delay_ms in (20, 100):
        states = Row(
            f"{delay_ms} ms link, {scale.domains} domains: all states known after",
            "round trips",
            limits={FAST: 10},
        )
        ready = Row(
            f"{delay_ms} ms link, {scale.domains} domains: all definitions after",
            "round trips",
            limits={FAST: 30},
        )
        for _ in range(max(1, scale.runs // 2)):
            for label in LABELS:
                far = stage.delayed(near, delay_ms)
                bridge = start_bridge(stage, label, label, uri(far, "qemu"), ready=False)
                client = bridge.client()
                syncing_at = _when(bridge, client, ("syncing", "ready"))
                ready_at = _when(bridge, client, ("ready",))
                client.close()
                began = float(far.with_name("sock.accepted").read_text().split()[0])
                states.add(label, (syncing_at - began) * 1000 / delay_ms)
                ready.add(label, (ready_at - began) * 1000 / delay_ms)
        rows += [states, ready]
    return rows


def _when(bridge: Bridge, client: RawBus, states: tuple[str, ...]) -> float:
    """The monotonic time at which Connection.State was first seen to be one of these."""
    wait_for(lambda: bridge.connection_state(client) in states, f"{bridge.label} is {states}", 120)
    return time.monotonic()

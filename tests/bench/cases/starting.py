"""Starting: with ten thousand domains, and over slow links."""

import re
import time
from pathlib import Path

import libvirt

from tests.bench.cases.common import FAST, LABELS, NEXT, Scale
from tests.bench.services import start_bridge
from tests.bench.stage import Stage, define, domain_xml, end, resident_mib, uri
from tests.bench.table import Row
from tests.support.rawbus import RawBus, spin


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


class _Listener:
    """When a client heard of what, in monotonic seconds: the connection's states, and the last domain."""

    def __init__(self, client: RawBus, domains: int) -> None:
        self._missing = domains
        self.states: dict[str, float] = {}
        self.all_there = 0.0
        client.add_match("type='signal',member='InterfacesAdded'")
        client.add_match(f"type='signal',member='PropertiesChanged',path='{_CONNECTION}'")
        client.on_signal = self._take

    def _take(self, frame: bytes) -> None:
        if b"InterfacesAdded\0" not in frame:
            if match := _STATE.search(frame):
                self.states[match[1].decode()] = time.monotonic()
        elif f"{_CONNECTION}/domain/_".encode() in frame:
            self._missing -= 1
            if not self._missing:
                self.all_there = time.monotonic()


_CONNECTION = "/org/virtbridge1/bench"
# An entry of a{sv}: the name, the value's signature, padding, the value's length and the value.
_STATE = re.compile(rb"\x05\0\0\0State\0\x01s\0{1,4}.\0\0\0([a-z]+)\0", re.DOTALL)


def far_sync(stage: Stage, scale: Scale) -> list[Row]:
    """First sync over slow links, as a client hears of it: in round trips from the open connection on.

    Opening is libvirt's own, seven round trips, and ends with the state `syncing`.
    """
    near = stage.libvirtd()
    define(near, "qemu", scale.domains)
    rows = []
    for delay_ms in (20, 100):
        link = f"{delay_ms} ms link, {scale.domains} domains"
        states = Row(f"{link}: all there with their states after", "round trips", limits={FAST: 10})
        ready = Row(f"{link}: all definitions known after", "round trips", limits={FAST: 30})
        for _ in range(scale.runs):
            for label in LABELS:
                heard = _first_sync(stage, label, stage.delayed(near, delay_ms), scale.domains)
                began = heard.states["syncing"]
                states.add(label, (heard.all_there - began) * 1000 / delay_ms)
                ready.add(label, (heard.states["ready"] - began) * 1000 / delay_ms)
        rows += [states, ready]
    return rows


def _first_sync(stage: Stage, label: str, far: Path, domains: int) -> _Listener:
    """One start of the service, with nobody else on the machine."""
    address = stage.bus()
    client = RawBus(address)
    heard = _Listener(client, domains)
    process = stage.bridge(address, label, f"bench={uri(far, 'qemu')}")
    spin([client], lambda: heard.all_there and "ready" in heard.states, 120)
    client.close()
    end(process)
    return heard

"""How each service is asked the same questions: the frames of virtbridge and of libvirt-dbus.

Only what a client has to send differs here; sending, framing and timing are the same for both.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.bench.stage import Stage, uri, wait_for
from tests.support.rawbus import BUS, NO_OPTIONS, RawBus, Window, pipeline, serial_of, text

_ZERO_FLAGS = b"\0" * 4
_PROPERTIES = "org.freedesktop.DBus.Properties"


class Service:
    """label: for the table. address: of its own bus."""

    destination = ""
    path_pattern = re.compile(b"")

    def __init__(self, label: str, address: str, process: subprocess.Popen[bytes], root: str) -> None:
        self.label = label
        self.address = address
        self.process = process
        self.root = root

    def client(self) -> RawBus:
        return RawBus(self.address, timeout_s=60)

    def paths(self, listing: bytes) -> list[str]:
        """The domains' paths in a reply to listing_frame."""
        return [path.decode() for path in dict.fromkeys(self.path_pattern.findall(listing))]

    def domains(self, client: RawBus) -> list[str]:
        return self.paths(pipeline(client, [self.listing_frame(client)])[0])

    def listing_frame(self, client: RawBus) -> bytes:
        raise NotImplementedError

    def detail_frames(self, client: RawBus, path: str) -> list[bytes]:
        """What an inventory asks about one domain after the listing."""
        raise NotImplementedError

    def get_frame(self, client: RawBus, path: str, name: str) -> bytes:
        raise NotImplementedError

    def watch(self, client: RawBus) -> None:
        """The match rules of a client that wants to know all domains' states."""
        raise NotImplementedError

    def follower(self, client: RawBus, final: str, done: Callable[[str], None]) -> Callable[[], bool]:
        """Call done(path) whenever the client learns that a domain is in state `final`.

        Returns a function that tells whether the client still waits for answers.
        """
        raise NotImplementedError


class Bridge(Service):
    destination = "org.virtbridge1"
    path_pattern = re.compile(rb"/org/virtbridge1/bench/domain/_[0-9a-f_]{36}")

    def listing_frame(self, client: RawBus) -> bytes:
        return client.frame(
            self.destination, "/org/virtbridge1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"
        )

    def detail_frames(self, client: RawBus, path: str) -> list[bytes]:
        return [client.frame(self.destination, path, "org.virtbridge1.Domain", "GetXml", "a{sv}", NO_OPTIONS)]

    def select_frame(self, client: RawBus, kind: str, *columns: str) -> bytes:
        """These properties of all objects of a kind in one reply."""
        names, body = text(*columns), text(kind)
        body = _array_behind(body, names)
        return client.frame(
            self.destination, "/org/virtbridge1", "org.virtbridge1.Manager", "Select", "sasa{sv}", body
        )

    def get_frame(self, client: RawBus, path: str, name: str) -> bytes:
        body = text("org.virtbridge1.Domain", name)
        return client.frame(self.destination, path, _PROPERTIES, "Get", "ss", body)

    def watch(self, client: RawBus) -> None:
        client.add_match(
            f"type='signal',sender='{self.destination}',interface='{_PROPERTIES}',path_namespace='/org/virtbridge1'"
        )

    def follower(self, client: RawBus, final: str, done: Callable[[str], None]) -> Callable[[], bool]:
        _BridgeFollower(client, self.path_pattern, final, done)
        return lambda: False

    def watch_stats(self, client: RawBus, interval_ms: int, group: str) -> None:
        """StatsSampled from now on."""
        body = _array_behind(interval_ms.to_bytes(4, "little"), text(group))
        client.call(self.destination, self.root, "org.virtbridge1.Connection", "WatchStats", "uasa{sv}", body)

    def volumes_frame(self, client: RawBus, pool: str) -> bytes:
        path = f"{self.root}/pool/_{pool.replace('-', '_')}"
        return client.frame(
            self.destination, path, "org.virtbridge1.StoragePool", "ListVolumes", "a{sv}", NO_OPTIONS
        )

    def connection_state(self, client: RawBus) -> str:
        try:
            body = client.call(
                self.destination,
                "/org/virtbridge1/bench",
                _PROPERTIES,
                "Get",
                "ss",
                text("org.virtbridge1.Connection", "State"),
            )
        except RuntimeError:
            return ""  # no name or no connection yet
        return body[8:-1].decode()

    def counters(self, client: RawBus) -> dict[str, int]:
        body = client.call(
            self.destination,
            "/org/virtbridge1",
            "org.virtbridge1.Metrics",
            "GetCounters",
            "a{sv}",
            NO_OPTIONS,
        )
        found, place = {}, 8
        while place < len(body):
            length = int.from_bytes(body[place : place + 4], "little")
            name = body[place + 4 : place + 4 + length].decode()
            place += 5 + length
            place += -place % 8
            found[name] = int.from_bytes(body[place : place + 8], "little")
            place += 8
        return found


def _array_behind(body: bytes, strings: bytes) -> bytes:
    """An array of strings, and no options."""
    body += b"\0" * (-len(body) % 4) + len(strings).to_bytes(4, "little") + strings
    body += b"\0" * (-len(body) % 4) + b"\0" * 4
    return body + b"\0" * (-len(body) % 8)


class _BridgeFollower:
    """PropertiesChanged carries the state itself."""

    def __init__(
        self, client: RawBus, pattern: re.Pattern[bytes], final: str, done: Callable[[str], None]
    ) -> None:
        self._pattern, self._done = pattern, done
        raw = final.encode()
        value = re.escape(len(raw).to_bytes(4, "little") + raw + b"\0")
        # An entry of a{sv}: the name, the value's signature, padding, and the value, a string.
        self._entry = re.compile(rb"\x05\0\0\0State\0\x01s\0{1,4}" + value)
        client.on_signal = self._take

    def _take(self, frame: bytes) -> None:
        if self._entry.search(frame):
            path = self._pattern.search(frame)
            if path:
                self._done(path.group().decode())


class Peer(Service):
    destination = "org.libvirt"
    path_pattern = re.compile(rb"/org/libvirt/[A-Za-z]+/domain/_[0-9a-f_]{36}")

    def listing_frame(self, client: RawBus) -> bytes:
        return client.frame(
            self.destination, self.root, "org.libvirt.Connect", "ListDomains", "u", _ZERO_FLAGS
        )

    def detail_frames(self, client: RawBus, path: str) -> list[bytes]:
        return [
            client.frame(self.destination, path, _PROPERTIES, "GetAll", "s", text("org.libvirt.Domain")),
            self.state_frame(client, path),
            client.frame(self.destination, path, "org.libvirt.Domain", "GetXMLDesc", "u", _ZERO_FLAGS),
        ]

    def state_frame(self, client: RawBus, path: str) -> bytes:
        return client.frame(self.destination, path, "org.libvirt.Domain", "GetState", "u", _ZERO_FLAGS)

    def volumes_frame(self, client: RawBus, pool: str) -> bytes:
        path = f"{self.root}/storagepool/_{pool.replace('-', '_')}"
        return client.frame(
            self.destination, path, "org.libvirt.StoragePool", "ListStorageVolumes", "u", _ZERO_FLAGS
        )

    def volumes(self, listing: bytes) -> list[str]:
        """The paths in a reply to volumes_frame."""
        return [path.decode() for path in re.findall(rb"/org/libvirt/\w+/storagevol/\w+", listing)]

    def volume_frame(self, client: RawBus, path: str) -> bytes:
        return client.frame(self.destination, path, "org.libvirt.StorageVol", "GetXMLDesc", "u", _ZERO_FLAGS)

    def stats_frame(self, client: RawBus, groups: int, flags: int) -> bytes:
        """All domains' statistics, in libvirt's own numbers."""
        body = groups.to_bytes(4, "little") + flags.to_bytes(4, "little")
        return client.frame(
            self.destination, self.root, "org.libvirt.Connect", "GetAllDomainStats", "uu", body
        )

    def get_frame(self, client: RawBus, path: str, name: str) -> bytes:
        return client.frame(
            self.destination, path, _PROPERTIES, "Get", "ss", text("org.libvirt.Domain", name)
        )

    def watch(self, client: RawBus) -> None:
        client.add_match(f"type='signal',sender='{self.destination}',interface='org.libvirt.Connect'")

    def follower(self, client: RawBus, final: str, done: Callable[[str], None]) -> Callable[[], bool]:
        return _PeerFollower(self, client, final, done).waiting


_STATE_NUMBERS = {"running": 1, "paused": 3, "shutoff": 5}


class _PeerFollower:
    """A DomainEvent says that something happened; GetState says what is so now. 32 of those in flight."""

    def __init__(self, peer: Peer, client: RawBus, final: str, done: Callable[[str], None]) -> None:
        self._peer, self._client, self._done = peer, client, done
        self._final = _STATE_NUMBERS[final].to_bytes(4, "little")
        self._asked: dict[int, str] = {}
        self._window = Window(client, on_body=self._answer)
        client.on_signal = self._take

    def _take(self, frame: bytes) -> None:
        path = self._peer.path_pattern.search(frame)
        if b"DomainEvent\0" not in frame or not path:
            return
        call = self._peer.state_frame(self._client, path.group().decode())
        self._asked[serial_of(call)] = path.group().decode()
        self._window.add([call])

    def waiting(self) -> bool:
        return bool(self._asked)

    def _answer(self, serial: int, body: bytes) -> None:
        path = self._asked.pop(serial)
        if body[:4] == self._final:
            self._done(path)


def start_bridge(
    stage: Stage,
    label: str,
    library: str,
    target: str,
    *,
    ready: bool = True,
    timed: bool = False,
    timeout_s: float = 60,
    settings: str = "",
) -> Bridge:
    """virtbridge on a bus of its own, with the connection `bench` to the URI `target`."""
    address = stage.bus()
    process = stage.bridge(address, library, f"bench={target}", timed=timed, settings=settings)
    bridge = Bridge(label, address, process, "/org/virtbridge1/bench")
    client = bridge.client()
    if ready:
        wait_for(lambda: bridge.connection_state(client) == "ready", f"{label} is ready", timeout_s)
    client.close()
    return bridge


def start_peer(stage: Stage, socket: Path, kind: str) -> Peer:
    """libvirt-dbus on a bus of its own, behind the same libvirtd."""
    address = stage.bus()
    process = stage.peer(address, socket)
    root = "/org/libvirt/QEMU" if kind == "qemu" else "/org/libvirt/VMwareFusion"
    peer = Peer("libvirt-dbus", address, process, root)
    client = peer.client()

    def owned() -> int:
        return client.call(BUS, "/org/freedesktop/DBus", BUS, "NameHasOwner", "s", text("org.libvirt"))[0]

    wait_for(owned, "libvirt-dbus is there")
    peer.domains(client)  # it opens the connection at the first call
    client.close()
    return peer


def start_all(stage: Stage, socket: Path, kind: str, *, timed: bool = False) -> list[Service]:
    """libvirt-dbus, and virtbridge with each D-Bus library."""
    return [start() for start in starters(stage, socket, kind, timed=timed)]


def starters(stage: Stage, socket: Path, kind: str, *, timed: bool = False) -> list[Callable[[], Service]]:
    """What starts each of the three, for cases in which they would be in each other's way."""
    target = uri(socket, kind)
    return [
        lambda: start_peer(stage, socket, kind),
        lambda: start_bridge(stage, "dbus-fast", "dbus-fast", target, timed=timed),
        lambda: start_bridge(stage, "dbus-next", "dbus-next", target, timed=timed),
    ]

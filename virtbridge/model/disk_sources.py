"""The names that a disk's storage is found by, however its source is spelled.

Pure. Source: virStorageSource in libvirt, QEMU's own spelling of network sources.
"""

import re
from collections.abc import Iterator
from posixpath import normpath

from virtbridge.model.domain import Disk

# Where libvirt connects to when a host has no port (virStorageSourceNetworkDefaultPort).
_DEFAULT_PORTS = {
    "ftp": "21",
    "ftps": "990",
    "gluster": "24007",
    "http": "80",
    "https": "443",
    "iscsi": "3260",
    "nbd": "10809",
    "nfs": "2049",
    "sheepdog": "7000",
    "ssh": "22",
    "tftp": "69",
}
# A name is written with a slash before it or without, as in its URL, where one follows the hosts anyhow.
_WITH_HOSTS = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)/*(.*)", re.DOTALL)
_WITHOUT_HOSTS = re.compile(r"([a-z][a-z0-9+.-]*):/+(.*)", re.DOTALL)
# What may stand behind a name, by protocol, the last one first: a disk is found with it and without. No name
# of these protocols holds such a mark itself.
_MARKS = {"http": ("?",), "https": ("?",), "rbd": (":conf=", "@")}


def source_text(
    protocol: str,
    hosts: tuple[str, ...],
    name: str,
    *,
    query: str = "",
    snapshot: str = "",
    config: str = "",
) -> str:
    """Write a network source as one string, which is how backing chains keep it.

    It is `protocol:name`; with hosts `protocol://host:port,host:port/name`; on a Unix socket, as QEMU writes
    it, `protocol+unix:///name?socket=path`. Behind the name stands, in the protocol's own notation, what else
    distinguishes one disk from another: `@snapshot` and `:conf=file` (Ceph's configuration) of rbd, `?query`
    of http.
    """
    name += f"@{snapshot}" if snapshot else ""
    name += f":conf={config}" if config else ""
    name += f"?{query}" if query else ""
    if not hosts:
        return f"{protocol}:{name}"
    if hosts[0].startswith("/"):
        return f"{protocol}+unix:///{name}?socket={hosts[0]}"
    return f"{protocol}://{','.join(hosts)}/{name}"


def normal_source(text: str) -> str:
    """Return the one spelling of a storage source under which disk_sources() returns it.

    Absolute paths lose doubled slashes, `.` and `..` (lexically: only the host can resolve symbolic links).
    Volumes (`pool/volume`) stay as they are, and so do network disks (`protocol:…`) but for a host's case and
    slashes before the name.
    """
    if text.startswith("/"):
        # normpath keeps exactly two leading slashes, as POSIX allows; Linux gives them no meaning.
        return normpath("/" + text.lstrip("/"))
    if match := _WITH_HOSTS.match(text):
        return f"{match[1]}://{match[2].lower()}/{match[3]}"
    match = _WITHOUT_HOSTS.match(text)
    return f"{match[1]}:{match[2]}" if match else text


def disk_sources(disk: Disk) -> tuple[str, ...]:
    """Return every normal spelling by which what the guest writes to can be found: the top source, its data
    file and the mirror. There is none without a medium.
    """
    if disk.type == "volume":
        top = [normal_source(f"{disk.pool}/{disk.volume}")] if disk.pool else []
    elif disk.protocol:
        top = list(_spellings(_network_text(disk)))
    else:
        top = [normal_source(disk.source)] if disk.source else []
    for beside in (disk.data_store, disk.mirror):
        if beside:
            top.extend(_spellings(beside))
    return tuple(dict.fromkeys(top))


def _network_text(disk: Disk) -> str:
    return source_text(
        disk.protocol,
        disk.hosts,
        disk.source,
        query=disk.query,
        snapshot=disk.snapshot,
        config=disk.config,
    )


def backing_sources(disk: Disk) -> tuple[str, ...]:
    """Return every normal spelling of what lies below the top source."""
    return tuple(dict.fromkeys(spelling for text in disk.backing for spelling in _spellings(text)))


def _spellings(text: str) -> Iterator[str]:
    """Yield the spellings of a path, pool/volume or source_text(): itself, and a network disk's forms by name
    and by each host, each of them with and without query or snapshot.
    """
    match = _WITH_HOSTS.match(text)
    if not match or match[1] == "nvme":
        normal = normal_source(text)
        scheme, colon, name = normal.partition(":")
        yield from (scheme + colon + each for each in _names(scheme, name))
        return
    scheme, hosts, name = match[1], match[2].lower(), match[3]
    if scheme.endswith("+unix"):
        protocol, (name, _, socket) = scheme.removesuffix("+unix"), name.rpartition("?socket=")
        for each in _names(protocol, name):
            yield f"{protocol}:{each}"
            yield normal_source(f"{scheme}:///{each}?socket={socket}")
        return
    for each in _names(scheme, name):
        yield f"{scheme}:{each}"
        for place in _places(scheme, hosts):
            yield f"{scheme}://{place}/{each}"


def _names(scheme: str, name: str) -> Iterator[str]:
    """Yield the name as it is, and without what _MARKS begin."""
    yield name
    for mark in _MARKS.get(scheme, ()):
        before, found, _ = name.partition(mark)
        if found:
            name = before
            yield name


def _places(scheme: str, hosts: str) -> Iterator[str]:
    if "," in hosts:
        yield hosts  # all at once, as `backing` and `mirror` have it
    for host in hosts.split(","):
        yield host
        bare, port = _split_port(host)
        if port:
            yield bare
        elif scheme in _DEFAULT_PORTS:
            yield f"{bare}:{_DEFAULT_PORTS[scheme]}"


def _split_port(host: str) -> tuple[str, str]:
    """Split `name:port` and `[v6]:port` in two; a name without a port has an empty one."""
    name, _, port = host.rpartition(":")
    return (name, port) if port.isdecimal() and name else (host, "")

"""Documents to read: libvirt XML as real and odd drivers write it."""

from pathlib import Path

_HERE = Path(__file__).parent


def domain_xml(name: str) -> str:
    return (_HERE / "domains" / f"{name}.xml").read_text(encoding="utf-8")


def network_xml(name: str) -> str:
    return (_HERE / "networks" / f"{name}.xml").read_text(encoding="utf-8")


def document(folder: str, name: str) -> str:
    """Return the XML file of this name, of any other kind."""
    return (_HERE / folder / f"{name}.xml").read_text(encoding="utf-8")


DOMAINS = sorted(path.stem for path in (_HERE / "domains").glob("*.xml"))
NETWORKS = sorted(path.stem for path in (_HERE / "networks").glob("*.xml"))
# Of the kinds that are read on demand, by folder.
ON_DEMAND = ("snapshots", "checkpoints", "filters", "interfaces", "ports")


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (_HERE / folder).glob("*.xml"))


POOLS, VOLUMES, NODE_DEVICES, SECRETS = map(names, ("pools", "volumes", "nodedevs", "secrets"))

"""Network filters and where they are bound: what libvirt's XML says.

FilterRule is the contract's dictionary, as with domains. Unknown elements are ignored and odd values never
raise. Pure. Source: https://libvirt.org/formatnwfilter.html
"""

from dataclasses import dataclass

from virtbridge.model.macs import shown_mac
from virtbridge.model.xml import Element, attribute, child, children, parse_root, text, word


@dataclass(frozen=True, slots=True)
class FilterRule:
    """priority: decimal, may be negative. matches: `protocol.attribute=value` for each condition."""

    action: str = ""
    direction: str = ""
    priority: str = ""
    state_match: bool = True
    protocols: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterDefinition:
    """priority: decimal, may be negative; empty when libvirt decides. filters: those that it refers to."""

    name: str = ""
    uuid: str = ""
    chain: str = ""
    priority: str = ""
    filters: tuple[str, ...] = ()
    rules: tuple[FilterRule, ...] = ()


@dataclass(frozen=True, slots=True)
class BindingDefinition:
    """owner, owner_uuid: of the domain. link_device: the host's device of a direct interface. parameters:
    `name=value`.
    """

    port: str = ""
    filter: str = ""
    mac: str = ""
    owner: str = ""
    owner_uuid: str = ""
    link_device: str = ""
    parameters: tuple[str, ...] = ()


def parse_filter(xml: str) -> FilterDefinition:
    """Read filter XML as virNWFilterGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    root = parse_root(xml, "filter")
    return FilterDefinition(
        name=attribute(root, "name"),
        uuid=text(child(root, "uuid")).strip(),
        chain=word(root, "chain"),
        priority=attribute(root, "priority"),
        filters=tuple(attribute(each, "filter") for each in root.iterchildren("filterref")),
        rules=tuple(map(_rule, root.iterchildren("rule"))),
    )


def parse_binding(xml: str) -> BindingDefinition:
    """Read binding XML as virNWFilterBindingGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    parts = children(parse_root(xml, "filterbinding"))
    owner = children(parts["owner"]) if "owner" in parts else {}
    reference = parts.get("filterref")
    return BindingDefinition(
        port=attribute(parts.get("portdev"), "name"),
        filter=attribute(reference, "filter"),
        mac=shown_mac(attribute(parts.get("mac"), "address")),
        owner=text(owner.get("name")),
        owner_uuid=text(owner.get("uuid")).strip(),
        link_device=attribute(parts.get("linkdev"), "name"),
        parameters=_parameters(reference),
    )


def _parameters(reference: Element | None) -> tuple[str, ...]:
    if reference is None:
        return ()
    each = reference.iterchildren("parameter")
    return tuple(f"{attribute(one, 'name')}={attribute(one, 'value')}" for one in each)


def _rule(element: Element) -> FilterRule:
    conditions = list(element)
    return FilterRule(
        action=word(element, "action"),
        direction=word(element, "direction"),
        priority=word(element, "priority"),
        state_match=attribute(element, "statematch") not in ("0", "false"),
        protocols=tuple(str(each.tag) for each in conditions),
        matches=tuple(
            f"{each.tag}.{name}={each.get(name)}"
            for each in conditions
            for name in sorted(map(str, each.keys()))
        ),
    )

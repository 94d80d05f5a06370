"""Options with a right of their own: contract and handlers state the same options, or nothing starts."""

from pathlib import Path
from typing import Any

import pytest

from virtbridge.bus.binding import bind
from virtbridge.bus.contract import BadContract, Interface, load_contract, load_interfaces
from virtbridge.bus.guards import needed_by_options, no_flags_but, one_of, unless
from virtbridge.bus.handlers.demand import ConnectionQuestions
from virtbridge.bus.names import NAME
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import connection_key
from virtbridge.model.operations import Request

XML = """<node><interface name="x.Y"><method name="Ask">
  <annotation name="org.virtbridge1.Access" value="read"/>
  <annotation name="org.virtbridge1.Options" value="source s, max-age t"/>
  <annotation name="org.virtbridge1.Access.source" value="control unless
      lease"/>
  <arg name="options" type="a{sv}" direction="in"/>
</method></interface></node>"""


class Handlers:
    @unless(source=one_of("lease"))
    def ask(self, call: Any, options: Any) -> None:
        pass


def interface(folder: Path, xml: str = XML) -> Interface:
    file = folder / "x.xml"
    file.write_text(xml)
    return load_interfaces(file)["x.Y"]


class Asked:
    """In place of Call."""

    key = connection_key("lab")
    user, sender = 0, ":1.1"


async def rights_for(handlers: Any, made: Interface, method: str, options: dict[str, Any]) -> list[Any]:
    call: Any = Asked()
    needed = await needed_by_options(bind(made, handlers).methods[method].guards.values(), call, options)
    return [(each.right, each.why) for each in needed]


def test_options_and_their_rights_are_read(tmp_path: Path) -> None:
    method = interface(tmp_path).methods["Ask"]
    assert method.options == {"source": "s", "max-age": "t"}
    [(option, stated)] = method.option_rights.items()
    assert (option, stated.right, stated.unless) == ("source", "control", "lease")


async def test_only_a_value_that_is_known_to_be_harmless_needs_no_right(tmp_path: Path) -> None:
    made = interface(tmp_path)
    assert await rights_for(Handlers(), made, "Ask", {"max-age": 1}) == []
    assert await rights_for(Handlers(), made, "Ask", {"source": "lease"}) == []
    needed = [("control", ", which the option 'source' needs unless lease")]
    assert await rights_for(Handlers(), made, "Ask", {"source": "agent"}) == needed
    assert await rights_for(Handlers(), made, "Ask", {"source": "of a newer version"}) == needed


@pytest.mark.parametrize(("flags", "harmless"), [(0, True), (2, True), (6, True), (1, False), (7, False)])
def test_flags(flags: int, harmless: bool) -> None:
    nothing: Any = None
    assert no_flags_but(6)(nothing, nothing, "flags", {"flags": flags}) is harmless


@pytest.mark.parametrize(
    ("there", "instead", "complaint"),
    [
        ("Access.source", "Access.sauce", "rights for options that it does not have"),
        ('"source s, max-age t"', '"source, max-age t"', "no list of names and types"),
        ('<annotation name="org.virtbridge1.Options" value="source s, max-age t"/>', "", "but not both"),
        ('type="a{sv}"', 'type="s"', "but not both"),
    ],
)
def test_a_contract_that_contradicts_itself_stops_the_start(
    tmp_path: Path, there: str, instead: str, complaint: str
) -> None:
    assert there in XML
    with pytest.raises(BadContract, match=rf"x\.xml: Ask.*{complaint}"):
        interface(tmp_path, XML.replace(there, instead))


def test_a_right_that_the_handler_does_not_know_stops_the_start(tmp_path: Path) -> None:
    class Unaware:
        def ask(self, call: Any, options: Any) -> None:
            pass

    with pytest.raises(BadContract, match=r"x\.Y\.Ask: .*\['source'\] in the contract"):
        bind(interface(tmp_path), Unaware())


def test_a_right_that_the_contract_does_not_state_stops_the_start(tmp_path: Path) -> None:
    class Careful:
        @unless(source=one_of("lease"), age=one_of(0))
        def ask(self, call: Any, options: Any) -> None:
            pass

    with pytest.raises(BadContract, match=r"x\.Y\.Ask: .*\['age', 'source'\] in the handler"):
        bind(interface(tmp_path), Careful())


class Host:
    """In place of Requests: a host that lists one emulator, or cannot be asked."""

    def __init__(self, *, gone: bool = False) -> None:
        self._gone = gone

    async def operate(self, request: Request, _max_age_s: float) -> Any:
        assert request.name == "get-emulators"
        if self._gone:
            raise BridgeError(ErrorKind.NOT_CONNECTED, "gone")
        return frozenset({"/usr/bin/qemu"})


@pytest.mark.parametrize(
    ("path", "gone", "needs"),
    [
        ("/usr/bin/qemu", False, False),
        ("", True, False),
        ("/usr/bin/qemu", True, True),
        ("/usr/bin/../bin/qemu", False, True),
        ("/home/nobody/qemu", False, True),
    ],
)
async def test_an_emulator_that_the_host_does_not_list_is_another_right(
    path: str, gone: bool, needs: bool
) -> None:
    nothing: Any = None
    host: Any = Host(gone=gone)
    questions = ConnectionQuestions(nothing, nothing, host)
    whole = load_contract(NAME)["org.virtbridge1.Connection"]
    methods = {"GetDomainCapabilities": whole.methods["GetDomainCapabilities"]}
    made = Interface(whole.name, methods, {}, {}, "")
    rights = await rights_for(questions, made, "GetDomainCapabilities", {"emulator": path})
    assert [right for right, _why in rights] == (["configure"] if needs else [])

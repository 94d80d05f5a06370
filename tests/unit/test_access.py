"""Who is asked about, for which of several rights, and what polkit is told of the object."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from virtbridge.bus.access import Access, Needed
from virtbridge.bus.call import Fault, Refused
from virtbridge.bus.details import details_of
from virtbridge.bus.polkit import Answer, NoAnswer
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import UNKNOWN
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.wire.framing import LITTLE, METHOD_CALL, Incoming

INTERACTIVE = 4
WEB = Key("lab", Kind.DOMAIN, "11111111-1111-4111-8111-111111111111")


class Polkit:
    """Says the same to everything, and keeps what it was asked."""

    def __init__(self, answer: Answer | NoAnswer) -> None:
        self._answer = answer
        self.asked: list[tuple[str, bool]] = []

    async def check(
        self, _sender: str, action: str, _details: Mapping[str, str], *, interactive: bool
    ) -> Answer:
        self.asked.append((action.removeprefix("org.virtbridge1."), interactive))
        if isinstance(self._answer, NoAnswer):
            raise self._answer
        return self._answer


def call(user: int, flags: int = 0) -> Incoming:
    incoming = Incoming(METHOD_CALL, flags, 7, "/x", "a.b", "Do", ":1.1", "", "", "", 0, b"", LITTLE)
    incoming.user = user
    return incoming


async def asked_for(user: int, *rights: str, answer: Answer | NoAnswer = Answer.YES, flags: int = 0) -> Any:
    polkit: Any = Polkit(answer)
    await Access(polkit).require(call(user, flags), [Needed(right, f", for {right}") for right in rights], {})
    return polkit.asked


async def test_root_and_readers_are_no_question() -> None:
    assert await asked_for(0, "configure", answer=Answer.NO) == []
    assert await asked_for(1, "read", answer=Answer.NO) == []
    await Access(None).require(call(1), [Needed("configure")], {})
    assert Access(None).has_all(1)


async def test_a_right_that_another_includes_is_no_question_of_its_own() -> None:
    assert await asked_for(1, "control", "configure", "read") == [("configure", False)]
    assert await asked_for(1, "control", "read-secrets", flags=INTERACTIVE) == [
        ("read-secrets", True),
        ("control", True),
    ]


@pytest.mark.parametrize("user", [1, UNKNOWN])
@pytest.mark.parametrize(
    ("answer", "flags", "kind", "text"),
    [
        (Answer.NO, 0, ErrorKind.NOT_AUTHORIZED, "does not have the right 'control', for control"),
        (Answer.AUTHENTICATE, INTERACTIVE, ErrorKind.NOT_AUTHORIZED, "nobody has authenticated"),
        (
            NoAnswer("late"),
            0,
            ErrorKind.AUTHORIZATION_FAILED,
            "nothing was done: late",
        ),
        (NoAnswer("none", absent=True), 0, ErrorKind.NOT_AUTHORIZED, "only root has the right 'control'"),
    ],
)
async def test_whatever_is_not_a_yes_is_a_refusal(
    user: int, answer: Answer | NoAnswer, flags: int, kind: ErrorKind, text: str
) -> None:
    with pytest.raises(BridgeError, match=text) as refused:
        await asked_for(user, "control", answer=answer, flags=flags)
    assert refused.value.kind is kind


async def test_a_caller_is_told_to_allow_that_somebody_is_asked() -> None:
    with pytest.raises(Refused) as refused:
        await asked_for(1, "control", answer=Answer.AUTHENTICATE)
    assert refused.value.fault is Fault.INTERACTIVE_AUTHORIZATION_REQUIRED


async def test_a_right_that_is_not_stated_is_nobody_s() -> None:
    for right in ("", "own"):
        with pytest.raises(BridgeError, match="only root"):
            await asked_for(1, right)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, {"kind": "manager"}),
        (Key("", Kind.CONNECTION), {"kind": "manager"}),
        (connection_key("lab"), {"connection": "lab", "kind": "connection", "name": "lab"}),
        (WEB, {"connection": "lab", "kind": "domain", "name": "web", "uuid": WEB.id}),
        (
            Key("lab", Kind.SNAPSHOT, "before", WEB.id),
            {
                "connection": "lab",
                "kind": "snapshot",
                "name": "before",
                "parent-name": "web",
                "parent-uuid": WEB.id,
            },
        ),
        (Key("lab", Kind.NODEDEV, "pci_0"), {"connection": "lab", "kind": "nodedev", "name": "pci_0"}),
        (Key("lab", Kind.DOMAIN, "gone"), {"connection": "lab", "kind": "domain", "uuid": "gone"}),
    ],
)
def test_what_rules_may_look_at(key: Key | None, told: dict[str, str]) -> None:
    records = {WEB: SimpleNamespace(name="web")}
    found = details_of(key, records.get, interface="a.b", operation="Start")
    assert {name: value for name, value in found.items() if value} == {
        "interface": "a.b",
        "operation": "Start",
        **told,
    }

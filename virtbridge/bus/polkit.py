"""polkit: the question whether a caller may do something, asked over our own connection to the bus.

Nothing is cached here: polkit keeps what an administrator's authentication is to be kept for. Whatever goes
wrong is no answer, and no answer is a refusal (access.py). Main thread only.
Source: the D-Bus interface org.freedesktop.PolicyKit1.Authority of polkit.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from virtbridge.wire.errors import BusError
from virtbridge.wire.link import Link
from virtbridge.wire.names import BUS_NAME
from virtbridge.wire.transport import MarshalError, Variant

POLKIT: Final = "org.freedesktop.PolicyKit1"
AUTHORITY_PATH: Final = f"/{POLKIT.replace('.', '/')}/Authority"
AUTHORITY: Final = f"{POLKIT}.Authority"

_ALLOW_USER_INTERACTION: Final = 1
# What a bus says where nobody has the name, and no file says how to start somebody who would.
_ABSENT: Final = frozenset({f"{BUS_NAME}.Error.ServiceUnknown", f"{BUS_NAME}.Error.NameHasNoOwner"})


class Answer(Enum):
    """AUTHENTICATE: yes, if a person proved who they are, which nobody has done."""

    YES = auto()
    NO = auto()
    AUTHENTICATE = auto()


class NoAnswer(Exception):
    """polkit did not say. absent: there is no polkit on this bus."""

    def __init__(self, text: str, *, absent: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.absent = absent


@dataclass(frozen=True, slots=True)
class Deadlines:
    """answer_s: for what polkit knows by itself, below the 25 s that D-Bus libraries wait. person_s: for what
    somebody types.
    """

    answer_s: float = 10.0
    person_s: float = 600.0


class Polkit:
    def __init__(self, link: Link, deadlines: Deadlines = Deadlines()) -> None:
        self._link = link
        self._deadlines = deadlines
        self._asked = 0

    async def check(
        self, sender: str, action: str, details: Mapping[str, str], *, interactive: bool
    ) -> Answer:
        """sender: the caller's unique name. details: for the rules. Raises NoAnswer.

        A person is asked for in a second question only, so that a polkit that hangs is noticed in the time
        that the first one has, and not in that which a person has. A question is cancelled with its task.
        """
        answer = await self._ask(sender, action, details, 0, self._deadlines.answer_s)
        if answer is Answer.AUTHENTICATE and interactive:
            answer = await self._ask(
                sender, action, details, _ALLOW_USER_INTERACTION, self._deadlines.person_s
            )
        return answer

    async def _ask(
        self, sender: str, action: str, details: Mapping[str, str], flags: int, timeout_s: float
    ) -> Answer:
        self._asked += 1
        cancellation_id = f"virtbridge-{self._asked}"
        subject = ["system-bus-name", {"name": Variant("s", sender)}]
        body = [subject, action, dict(details), flags, cancellation_id]
        try:
            # Not call()'s own deadline: its error looks like that of a bus whose polkit has just ended.
            async with asyncio.timeout(timeout_s):
                reply = await self._link.call(
                    POLKIT, AUTHORITY_PATH, AUTHORITY, "CheckAuthorization",
                    "(sa{sv})sa{ss}us", body, timeout_s=None,
                )  # fmt: skip
        except TimeoutError as error:
            self._cancel(cancellation_id)
            raise NoAnswer(f"polkit has not answered in {timeout_s:g} s") from error
        except asyncio.CancelledError:
            self._cancel(cancellation_id)
            raise
        except MarshalError as error:
            raise NoAnswer("the question cannot be written as a message") from error
        except BusError as error:
            raise NoAnswer(
                f"polkit could not be asked: {error.text}", absent=error.name in _ABSENT
            ) from error
        return _answer(reply)

    def _cancel(self, cancellation_id: str) -> None:
        """It takes the dialog from the screen. polkit tells nobody who has asked in vain."""
        self._link.call_without_reply(
            POLKIT, AUTHORITY_PATH, AUTHORITY, "CancelCheckAuthorization", "s", [cancellation_id]
        )


def _answer(reply: object) -> Answer:
    """Raises NoAnswer for what is no reply of CheckAuthorization."""
    match reply:
        case [[True, bool(), dict()]]:
            return Answer.YES
        case [[False, bool(challenge), dict()]]:
            return Answer.AUTHENTICATE if challenge else Answer.NO
    raise NoAnswer("polkit's reply is none")

"""Access: who may do what. The one place that decides.

On a session bus the bus itself admits only its own user, who may do everything. On the system bus everybody
may read and root may do everything, without a question. Everything else is polkit's to say, and where polkit
does not say yes, for whatever reason, the answer is no. Main thread only.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from virtbridge.bus.call import Fault, Refused
from virtbridge.bus.polkit import Answer, NoAnswer, Polkit
from virtbridge.bus.rights import READ, RIGHTS, action_of, fewest
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import ROOT
from virtbridge.wire.framing import ALLOW_INTERACTIVE_AUTHORIZATION, Incoming

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Needed:
    """One right that a call needs. right: empty where none is stated, which is nobody's. why: ends the
    sentence that refuses it, and tells nothing that the caller cannot know. operation: what the call does,
    where its member's name does not say so.
    """

    right: str
    why: str = ""
    operation: str = ""


class Access:
    """polkit: None on a session bus."""

    def __init__(self, polkit: Polkit | None) -> None:
        self._polkit = polkit

    def has_all(self, user: int) -> bool:
        """Whether this user has every right, without a question."""
        return self._polkit is None or user == ROOT

    async def require(self, incoming: Incoming, needed: Iterable[Needed], details: Mapping[str, str]) -> None:
        """Raises NotAuthorized and its like for the first right that the caller does not have.

        details: what polkit's rules may want to know about the call.
        """
        if self._polkit is None or incoming.user == ROOT:
            return
        reasons: dict[str, str] = {}
        for each in needed:
            reasons.setdefault(each.right, each.why)
        for right in fewest(reasons):
            if right not in RIGHTS:
                raise BridgeError(ErrorKind.NOT_AUTHORIZED, f"only root may do this{reasons[right]}")
            if right != READ:
                await self._ask(self._polkit, incoming, Needed(right, reasons[right]), details)

    async def _ask(
        self, polkit: Polkit, incoming: Incoming, needed: Needed, details: Mapping[str, str]
    ) -> None:
        interactive = bool(incoming.flags & ALLOW_INTERACTIVE_AUTHORIZATION)
        try:
            answer = await polkit.check(
                incoming.sender, action_of(needed.right), details, interactive=interactive
            )
        except NoAnswer as error:
            _log_refusal(incoming, needed.right, details, error.text)
            raise _without_answer(needed, error) from error
        if answer is Answer.YES:
            return
        _log_refusal(incoming, needed.right, details, f"polkit says {answer.name.lower()}")
        raise _refusal(answer, needed, interactive=interactive)


def _without_answer(needed: Needed, error: NoAnswer) -> BridgeError:
    if error.absent:
        text = f"only root has the right {needed.right!r}{needed.why}, as there is no polkit on this bus"
        return BridgeError(ErrorKind.NOT_AUTHORIZED, text)
    text = (
        f"the right {needed.right!r}{needed.why} could not be asked for, and nothing was done: {error.text}"
    )
    return BridgeError(ErrorKind.AUTHORIZATION_FAILED, text)


def _refusal(answer: Answer, needed: Needed, *, interactive: bool) -> BridgeError | Refused:
    right = f"the right {needed.right!r}{needed.why}"
    if answer is Answer.NO:
        return BridgeError(ErrorKind.NOT_AUTHORIZED, f"the caller does not have {right}")
    if interactive:
        text = f"the caller does not have {right}, for which nobody has authenticated"
        return BridgeError(ErrorKind.NOT_AUTHORIZED, text)
    text = f"{right} needs authentication, and the call does not allow that somebody is asked for it"
    return Refused(Fault.INTERACTIVE_AUTHORIZATION_REQUIRED, text)


def _log_refusal(incoming: Incoming, right: str, details: Mapping[str, str], reason: str) -> None:
    operation = details.get("operation", incoming.member)
    log.info(
        "refused operation=%s object=%s uid=%d sender=%s right=%s: %s",
        operation, incoming.path, incoming.user, incoming.sender, right, reason,
    )  # fmt: skip

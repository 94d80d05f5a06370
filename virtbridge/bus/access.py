"""Access: who may do everything without being asked for, and what everybody may.

On a session bus the bus itself admits only its own user, who may do everything. On the system bus root may,
everybody may read, and polkit is asked for everything else (polkit.py).
"""

from dataclasses import dataclass

from virtbridge.bus.rights import READ
from virtbridge.limiter import ROOT


@dataclass(frozen=True, slots=True)
class Access:
    session: bool

    def has_all(self, user: int) -> bool:
        """Whether this user has every right."""
        return self.session or user == ROOT

    def has(self, user: int, right: str | None) -> bool:
        """Without asking anybody. right: None is what a member has for which none is stated: nobody's."""
        return right == READ or (right is not None and self.has_all(user))

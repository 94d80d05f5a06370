"""Access: who may do what. A right is one of the contract's `org.virtbridge1.Access` values.

On a session bus the bus itself admits only its own user, who may do everything. On the system bus everybody
may read, and only root may do everything else.
"""

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import ROOT

READ = "read"


class Access:
    def __init__(self, *, session: bool) -> None:
        self._session = session

    async def require(self, user: int, right: str, why: str = "") -> None:
        """Raises NotAuthorized. why: ends its text; it must tell nothing that the caller cannot know."""
        if right == READ or self._session:
            return
        if user != ROOT:
            raise BridgeError(ErrorKind.NOT_AUTHORIZED, f"only root has the right {right!r}{why}")

"""Access: who may do what. A right is one of the contract's `org.virtbridge1.Access` values.

On a session bus the bus itself admits only its own user, who may do everything. On the system bus everybody
may read, and only root may do the rest.
"""

from virtbridge.bus.clients import Clients
from virtbridge.errors import BridgeError, ErrorKind

READ = "read"


class Access:
    def __init__(self, clients: Clients, *, session: bool) -> None:
        self._clients = clients
        self._session = session

    async def require(self, sender: str, right: str) -> None:
        """Raises NotAuthorized."""
        if right == READ or self._session:
            return
        if await self._clients.uid(sender) != 0:
            raise BridgeError(ErrorKind.NOT_AUTHORIZED, f"only root has the right {right!r}")

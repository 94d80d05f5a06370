"""One API as data: what the bus service, its publisher and its router are made from.

They know no bus name, object path or error name of their own, and neither does the cache. So a second API
shows the same records under other names: it is another value, served by another service. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from virtbridge.bus.contract import BadContract, Interface
from virtbridge.bus.properties import InterfaceProperties, Table, interface_properties
from virtbridge.errors import ErrorKind
from virtbridge.model.keys import Key, Kind
from virtbridge.model.operations import Operation


@dataclass(frozen=True, slots=True)
class Emitted:
    """How a signal of the cache is emitted. body: makes its bytes from the signal's arguments."""

    member: str
    body: Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class Api:
    """The names, tables and rules of one API. Handlers are code, and are given to the service
    apart from it.
    """

    # The well-known bus name.
    name: str
    # The object that is always there: its path, the interface with its properties, and those without any.
    root: str
    root_interface: str
    root_also: tuple[str, ...]
    # What clients can call and read, by interface.
    contract: Mapping[str, Interface]
    # Where each property's value comes from, by interface.
    tables: Mapping[str, Table]
    # The interface of each kind's objects. An object of another kind is not shown.
    interface_of: Mapping[Kind, str]
    path_of: Callable[[Key], str]
    error_names: Mapping[ErrorKind, str]
    # The members that rows of the operations table answer, by kind.
    operations: Mapping[Kind, Mapping[str, Operation]]
    # By the member of the cache's signal. A signal that an interface does not have is not emitted there.
    signals: Mapping[str, Emitted]

    def interface_properties(self) -> dict[str, InterfaceProperties]:
        """Return the properties by interface. Raises BadContract when the contract and the tables do not fit
        together.
        """
        shown = {self.root_interface, *self.root_also, *self.interface_of.values()}
        if odd := shown ^ self.contract.keys():
            raise BadContract(f"interfaces without an object or a contract: {sorted(odd)}")
        return interface_properties(self.contract, self.tables)

    def emitted(self) -> dict[tuple[str, str], tuple[str, str, Callable[..., bytes]]]:
        """Return what is emitted, with its signature and body, by interface and the member of the cache's
        signal.
        """
        return {
            (name, member): (row.member, interface.signals[row.member], row.body)
            for name, interface in self.contract.items()
            for member, row in self.signals.items()
            if row.member in interface.signals
        }

"""Rows that give a command without arguments of its own, and those that set autostart. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.row import Form, Operation, Parameter


def command(
    kind: Kind,
    name: str,
    call: str,
    permission: str,
    options: tuple[Parameter, ...] = (),
    *,
    events: tuple[str, ...] = (),
    asks: tuple[str, ...] = (),
    rereads: tuple[Kind, ...] = (),
) -> Operation:
    """Return a row for one kind, with options only, to which libvirt has no answer."""
    return Operation(
        name,
        (kind,),
        Form.NOTHING,
        call,
        options=options,
        permissions=(permission,),
        events=events,
        asks=asks,
        rereads=rereads,
    )


def set_autostart(kind: Kind, permission: str) -> Operation:
    """Return the row behind the writing of the property Autostart."""
    return Operation(
        "set-autostart",
        (kind,),
        Form.NOTHING,
        "setAutostart",
        arguments=(Parameter("value", "b"),),
        permissions=(permission,),
        changes=(("autostart", "value"),),
    )

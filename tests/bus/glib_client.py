"""A GLib program, run by the tests with the system's own Python: it needs PyGObject, nothing of ours.

`glib_client.py ADDRESS`: follows org.virtbridge1 through Gio.DBusObjectManagerClient and writes one JSON line
for everything it sees: start (all objects), added, removed, changed. It ends when its standard input does.
"""

import json
import sys
from typing import Any

from gi.repository import Gio, GLib  # type: ignore[import-not-found]

NAME, ROOT = "org.virtbridge1", "/org/virtbridge1"


def tell(what: str, **values: Any) -> None:
    print(json.dumps({"what": what, **values}), flush=True)


def main() -> None:
    flags = Gio.DBusConnectionFlags
    bus = Gio.DBusConnection.new_for_address_sync(
        sys.argv[1], flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None
    )
    manager = Gio.DBusObjectManagerClient.new_sync(
        bus, Gio.DBusObjectManagerClientFlags.DO_NOT_AUTO_START, NAME, ROOT, None, None, None
    )
    manager.connect("object-added", lambda _, obj: tell("added", path=obj.get_object_path()))
    manager.connect("object-removed", lambda _, obj: tell("removed", path=obj.get_object_path()))
    manager.connect(
        "interface-proxy-properties-changed",
        lambda _, obj, proxy, changed, gone: tell(
            "changed",
            path=obj.get_object_path(),
            values=changed.unpack(),
            cached=proxy.get_cached_property("State").unpack() if "State" in changed.unpack() else None,
        ),
    )
    paths = sorted(obj.get_object_path() for obj in manager.get_objects())
    tell("start", owner=manager.get_name_owner(), paths=paths)
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_HUP | GLib.IO_IN, lambda *_: loop.quit())
    loop.run()


main()

"""Fixtures that several kinds of tests share."""

from tests.support.dbus_daemon import bus, system_bus
from tests.support.library import transport

__all__ = ["bus", "system_bus", "transport"]

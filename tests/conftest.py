"""Fixtures that several kinds of tests share."""

from hypothesis import settings

from tests.support.dbus_daemon import bus, system_bus
from tests.support.fake_clock import clock
from tests.support.library import transport

__all__ = ["bus", "clock", "system_bus", "transport"]

# How long an example takes says more about what else the machine does.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

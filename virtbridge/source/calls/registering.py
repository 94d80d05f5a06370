"""Registrations of event callbacks that fail, kept from releasing a Python object twice.

Where a registration fails while vb-events delivers an event of the same connection, libvirt releases the
callback's data twice. virObjectEventStateDeregisterID() only marks the callback then, forgets that the data
of a failed registration stays its caller's, and releases it after the delivery; libvirt-python releases it
as well, since the registration failed. The data is a dictionary, whose memory belongs to two objects from
then on: the process ends with SIGSEGV, or any other object has lost its attributes. A registration fails when
the driver does not have the kind, and when the connection is lost.

So libvirt gets a dictionary with one reference more, which the second release takes. Whether there was one is
only known when the delivery is over. libvirt 9.0 and 11.3 release twice, and no fixed version is known, so no
version is asked for. Must not depend on anything of this project. Any thread.

Source: libvirt, src/conf/object_event.c; libvirt-python, libvirt-override.c.
"""

import ctypes
import sys
from collections import deque
from collections.abc import Callable
from functools import wraps
from threading import Lock
from time import monotonic
from typing import Any

import libvirtmod

DELIVERED_S = 60.0  # after that, what vb-events was delivering has been delivered: the watchdog sees to it

Data = dict[str, Any]
Register = Callable[..., int]  # of a connection, an object or None, the event's number and the data

# Each a function object of its own, as the ones that are attributes belong to the whole process.
_add_reference = ctypes.pythonapi["Py_IncRef"]
_drop_reference = ctypes.pythonapi["Py_DecRef"]
for _function in (_add_reference, _drop_reference):
    _function.argtypes, _function.restype = [ctypes.py_object], None

_lock = Lock()
_failed: deque[tuple[float, Data]] = deque()  # when, and what may still be released once more


def guard_registrations() -> None:
    """Replace libvirt-python's registering functions, once per process, before the first connection."""
    for name in dir(libvirtmod):
        if name.startswith("virConnect") and name.endswith("EventRegisterAny"):
            setattr(libvirtmod, name, guarded(getattr(libvirtmod, name)))


def guarded(register: Register, clock: Callable[[], float] = monotonic) -> Register:
    @wraps(register)
    def register_guarded(*args: Any) -> int:
        *others, given = args
        data = dict(given)
        _add_reference(data)
        number = -1
        try:
            number = register(*others, data)
        finally:
            if number < 0:
                data.clear()  # it holds the connection, and must not for a minute
                _keep(data, clock())
            else:
                _drop_reference(data)
        return number

    return register_guarded


def _keep(data: Data, now: float) -> None:
    with _lock:
        _failed.append((now, data))
        while _failed[0][0] + DELIVERED_S < now:
            _settle()


def _settle() -> None:
    """Take the reference that was added to the oldest back, where libvirt did not release it twice."""
    _, data = _failed.popleft()
    like_it: Data = {}  # held as data is, by a variable here, but for that reference
    if sys.getrefcount(data) > sys.getrefcount(like_it):
        _drop_reference(data)

"""Protection from a fault of libvirt: an event registration that fails may release a Python object twice.

When a registration fails while vb-events delivers an event of the same connection, libvirt releases the
callback's data twice. In that case virObjectEventStateDeregisterID() only marks the callback and releases its
data after the delivery, although the data of a failed registration belongs to the caller; and libvirt-python
releases it too, since the registration failed. The data is a dictionary. From then on two objects use its
memory: the process ends with SIGSEGV, or some other object loses its attributes. A registration fails when
the driver does not have the kind, and when the connection is lost.

Therefore libvirt gets a dictionary with one more reference, which a second release takes. Whether a second
release happened is only known after the delivery. libvirt 9.0 and 11.3 release twice and no fixed version is
known, so this does not look at the version. It depends on nothing else in this project. Any thread.

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

DELIVERED_S = 60.0  # each delivery of vb-events has ended by then, or the watchdog ends the process

Data = dict[str, Any]
Register = Callable[..., int]  # takes a connection, an object or None, the event's number and the data

# These are function objects of our own: the attributes of ctypes.pythonapi are shared by the whole process.
_add_reference = ctypes.pythonapi["Py_IncRef"]
_drop_reference = ctypes.pythonapi["Py_DecRef"]
for _function in (_add_reference, _drop_reference):
    _function.argtypes, _function.restype = [ctypes.py_object], None

_lock = Lock()
_failed: deque[tuple[float, Data]] = (
    deque()
)  # the time of the failure, and the data that may be released again


def guard_registrations() -> None:
    """Replace libvirt-python's registering functions, once per process, before the first connection."""
    for name in dir(libvirtmod):
        if name.startswith("virConnect") and name.endswith("EventRegisterAny"):
            setattr(libvirtmod, name, guarded(getattr(libvirtmod, name)))


def guarded(register: Register, clock: Callable[[], float] = monotonic) -> Register:
    """Return the registering function with the additional reference."""

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
                data.clear()  # it refers to the connection, which must not live for another minute
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
    """Drop the additional reference of the oldest entry, unless libvirt has released it twice."""
    _, data = _failed.popleft()
    unshared: Data = {}  # only a variable here refers to it, as to `data` after a second release
    if sys.getrefcount(data) > sys.getrefcount(unshared):
        _drop_reference(data)

"""The only place that talks to libvirt. Gives typed changes to whoever it is told to; imports no cache, no
bus.
"""

from virtbridge.source.calls.event_source_guard import load_guard

load_guard()

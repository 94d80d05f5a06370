"""The only package that calls libvirt. It passes typed changes to the function that the daemon gives it, and
imports neither the cache nor the bus.
"""

from virtbridge.source.calls.event_source_guard import load_guard

load_guard()

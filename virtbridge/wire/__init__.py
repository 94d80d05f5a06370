"""One D-Bus connection: socket, framing, marshalling, queues, limits.

It knows nothing of libvirt or of an API, and is the only layer that imports the D-Bus library.
"""

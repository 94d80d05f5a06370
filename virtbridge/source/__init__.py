"""The only place that talks to libvirt. Gives typed changes to whoever it is told to; imports no cache, no
bus.
"""

"""virtbridge: what libvirt manages as live D-Bus objects, from one shared cache."""

__version__ = "0.1.0"

"""What things are: frozen records and pure functions. No I/O, no clock, no libvirt, no D-Bus."""

"""How libvirt lists, announces and reads each kind of object: one file with one row per kind (table.py)."""

"""What each kind of object is to libvirt: one file and one row per kind, joined in table.py."""

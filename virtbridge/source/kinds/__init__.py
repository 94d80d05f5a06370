"""What each kind of object is to libvirt: how it is listed and read, and what its events change."""

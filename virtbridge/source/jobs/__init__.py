"""Jobs: long work of libvirt, begun, found, followed and ended. See model/jobs.py."""

"""How libvirt is called: its event loop thread, opening, a session with its workers, the table of errors."""

"""How libvirt is called: its event loop, opening, a session with its workers, the table of errors."""

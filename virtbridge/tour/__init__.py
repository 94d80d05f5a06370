"""The tour behind `make run`: the service on a private bus, and what clients see while things happen.

Nothing here is part of the service, and nothing in the service imports it.
"""

import os

# libvirt itself warns on stderr of a host name that does not resolve: true, and no part of the tour. It reads
# this once, when it is imported, which the modules here do.
os.environ.setdefault("LIBVIRT_DEBUG", "error")

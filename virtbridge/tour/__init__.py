"""The tour behind `make run`: the service on a private bus, and what clients see while things happen.

Nothing here is part of the service, and nothing in the service imports it.
"""

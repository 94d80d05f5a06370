"""Requests of a test's own, as the bus would make them for its caller."""

import os
from typing import Any

from virtbridge.model.keys import Key
from virtbridge.model.operations import Caller, Request


def request(key: Key, name: str, *arguments: Any) -> Request:
    return Request(key, name, arguments, Caller(os.getuid(), ":1.1"))

"""The transport module with either D-Bus library, side by side in one process."""

import importlib.util
import os
from types import ModuleType
from unittest import mock

import pytest

import virtbridge.wire.transport

LIBRARIES = ("dbus-next", "dbus-fast")


def load_transport(library: str) -> ModuleType:
    """A copy of wire/transport.py that uses this library. Skips the test where it is not installed."""
    package = library.replace("-", "_")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{library} is not installed")
    path = virtbridge.wire.transport.__file__
    spec = importlib.util.spec_from_file_location(f"transport_with_{package}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(os.environ, VIRTBRIDGE_DBUS_LIBRARY=library):
        spec.loader.exec_module(module)
    return module


@pytest.fixture(params=LIBRARIES)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The transport, once per library; the link uses it too."""
    module = load_transport(request.param)
    for name in ("link", "match_rules", "name_owners"):
        monkeypatch.setattr(f"virtbridge.wire.{name}.transport", module)
    return module

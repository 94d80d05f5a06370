"""The tree of object paths, for Introspect: which nodes there are, and what stands right below each. Pure."""

from collections.abc import Iterable


class Tree:
    """The paths that were added, and every node between them and `/`."""

    def __init__(self) -> None:
        self._objects: set[str] = set()
        self._children: dict[str, dict[str, None]] = {"/": {}}

    def add(self, path: str) -> None:
        self._objects.add(path)
        self._children.setdefault(path, {})
        while path != "/":
            parent, leaf = _split(path)
            known = parent in self._children
            self._children.setdefault(parent, {})[leaf] = None
            if known:
                return
            path = parent

    def remove(self, path: str) -> None:
        """Remove a path, and the nodes that only led to it."""
        self._objects.discard(path)
        while path != "/" and path not in self._objects and not self._children[path]:
            del self._children[path]
            path, leaf = _split(path)
            del self._children[path][leaf]

    def children(self, path: str) -> Iterable[str] | None:
        """Return the names right below a node; None when there is no such node."""
        return self._children.get(path)


def _split(path: str) -> tuple[str, str]:
    parent, _, leaf = path.rpartition("/")
    return parent or "/", leaf

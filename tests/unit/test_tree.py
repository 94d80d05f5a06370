"""The tree of paths: every node between the root and the objects, and none that leads nowhere."""

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.bus.tree import Tree

paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def test_nodes_on_the_way_come_and_go_with_their_objects() -> None:
    tree = Tree()
    tree.add("/a/b/c")
    tree.add("/a/b/d")
    assert list(tree.children("/") or ()) == ["a"]
    assert list(tree.children("/a/b") or ()) == ["c", "d"]
    tree.remove("/a/b/c")
    assert list(tree.children("/a/b") or ()) == ["d"]
    tree.remove("/a/b/d")
    assert tree.children("/a") is None
    assert list(tree.children("/") or ()) == []


def test_an_object_with_objects_below_it_stays_as_a_node() -> None:
    tree = Tree()
    tree.add("/a")
    tree.add("/a/b")
    tree.remove("/a")
    assert list(tree.children("/a") or ()) == ["b"]
    tree.remove("/a/b")
    assert tree.children("/a") is None


@given(st.lists(st.tuples(st.booleans(), paths)))
def test_the_nodes_are_exactly_the_ancestors_of_the_objects(steps: list[tuple[bool, str]]) -> None:
    tree = Tree()
    objects: set[str] = set()
    for add, path in steps:
        if add:
            tree.add(path)
            objects.add(path)
        elif path in objects:
            tree.remove(path)
            objects.discard(path)
    nodes = {"/"}
    for path in objects:
        parts = path.split("/")
        nodes |= {"/".join(parts[:size]) for size in range(2, len(parts) + 1)}
    assert set(tree._children) == nodes
    for node in nodes:
        below = {
            other.rpartition("/")[2] for other in nodes - {"/"} if (other.rpartition("/")[0] or "/") == node
        }
        assert set(tree.children(node) or ()) == below

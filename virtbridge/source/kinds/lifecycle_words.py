"""The contract's words for the two numbers of a lifecycle event. Pure."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from virtbridge.model.enum_names import name_of
from virtbridge.source.kinds.enums import Table


def lifecycle_words(events: Table, details: Mapping[str, Table]) -> Callable[[int, int], tuple[str, str]]:
    """Return the function from the two numbers to words for one kind. details: by the event's word."""

    @lru_cache(maxsize=256)
    def words(event: int, detail: int) -> tuple[str, str]:
        word = name_of(events, event)
        return word, name_of(details.get(word, {}), detail)

    return words

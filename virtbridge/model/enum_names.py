"""libvirt's constants as the contract's words: VIR_DOMAIN_PAUSED_MIGRATION is `migration`.

Pure: the constants come in as a mapping, since only source/ imports libvirt. A value that has no name here
travels as its number in decimal, never as an error.
"""

from collections.abc import Collection, Mapping


def enum_names(
    constants: Mapping[str, object], prefix: str, *, exclude: Collection[str] = ()
) -> dict[int, str]:
    """Map values to words, for every whole-number constant whose name starts with prefix.

    Words are in lower case, with `-` for `_`. LAST, the number of values, is left out. exclude: beginnings of
    the words, as libvirt writes them (`EVENT_`), that belong to another enumeration under the same prefix. Of
    two constants with one value the first in the mapping is taken.
    """
    names: dict[int, str] = {}
    for constant, value in constants.items():
        word = constant.removeprefix(prefix)
        if word == constant or not word or word == "LAST" or word.startswith(tuple(exclude)):
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            names.setdefault(value, word.lower().replace("_", "-"))
    return names


def name_of(table: Mapping[int, str], value: int) -> str:
    return table.get(value) or str(value)

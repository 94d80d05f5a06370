"""Guards: which rights a call needs, where its arguments decide that.

What an option needs beside its method's right, the contract states for each such option.

The contract says the right and, in words, which values need none; the operation's row says the same, or the
handler with `unless`. Whatever that code does not know to be harmless needs the right.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from virtbridge.bus.access import Needed
from virtbridge.bus.call import Call
from virtbridge.bus.contract import BadContract, Method, OptionRight

Options = Mapping[str, Any]
# Of the handlers, a call, an option that it has and all of its options, whose types are checked.
Harmless = Callable[[Any, Call, str, Options], bool | Awaitable[bool]]
F = TypeVar("F", bound=Callable[..., Any])

# Of the handlers, a call and its arguments.
NeededFor = Callable[..., Needed]

_ATTRIBUTE = "harmless_options"
_NEEDED = "needed_for"


def unless(**options: Harmless) -> Callable[[F], F]:
    """A handler's options that need a right, each with what tells the values that need none."""

    def mark(handler: F) -> F:
        setattr(handler, _ATTRIBUTE, options)
        return handler

    return mark


def needs(find: NeededFor) -> Callable[[F], F]:
    """A handler whose arguments say which right it needs, beside that of the contract. find may refuse what
    everybody may know to be wrong.
    """

    def mark(handler: F) -> F:
        setattr(handler, _NEEDED, find)
        return handler

    return mark


def needed_for(handlers: object, handler: Callable[..., Any]) -> Callable[..., Needed] | None:
    find = getattr(handler, _NEEDED, None)
    return partial(find, handlers) if find else None


def one_of(*values: Any) -> Harmless:
    return lambda _handlers, _call, name, options: options[name] in values


def no_flags_but(known: int) -> Harmless:
    """known: flags that are known to be harmless. Others may be a newer libvirt's."""
    return lambda _handlers, _call, name, options: not options[name] & ~known


@dataclass(frozen=True, slots=True)
class Guard:
    """Finds whether one option of a call needs its right."""

    option: str
    stated: OptionRight
    handlers: Any
    harmless: Harmless

    async def needed(self, call: Call, options: Options) -> Needed | None:
        harmless = self.harmless(self.handlers, call, self.option, options)
        if inspect.isawaitable(harmless):
            harmless = await harmless
        if harmless:
            return None
        exception = f" unless {self.stated.unless}" if self.stated.unless else ""
        return Needed(self.stated.right, f", which the option {self.option!r} needs{exception}")


def guards_of(
    method: Method, handlers: object, handler: Callable[..., Any], of_row: Mapping[str, Harmless]
) -> Mapping[str, Guard]:
    """By option. of_row: what the operation's row says. Raises BadContract when the contract does not name
    the same as the handler and the row.
    """
    harmless: Mapping[str, Harmless] = {**of_row, **getattr(handler, _ATTRIBUTE, {})}
    if harmless.keys() != method.option_rights.keys():
        raise BadContract(
            f"{method.name}: options with rights are {sorted(method.option_rights)} in the contract,"
            f" {sorted(harmless)} in the handler"
        )
    return {
        name: Guard(name, stated, handlers, harmless[name]) for name, stated in method.option_rights.items()
    }


async def needed_by_options(guards: Iterable[Guard], call: Call, options: Options) -> list[Needed]:
    """What the options of this call need. Their types are checked."""
    found = [await guard.needed(call, options) for guard in guards if guard.option in options]
    return [needed for needed in found if needed is not None]

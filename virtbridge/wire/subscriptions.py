"""Subscriptions to signals: each has a match rule and a listener, and ends by itself or with the connection.

Main thread only.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from virtbridge.wire.framing import Incoming
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.name_owners import NameOwners

Listener = Callable[[Incoming], None]


# Compared by identity: two subscriptions may have the same rule and the same listener.
@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One listener and the rule by which it hears signals."""

    rule: MatchRule
    listener: Listener


class Subscriptions:
    """ask_bus: calls AddMatch or RemoveMatch with the text of a rule.
    owners: know which unique name is behind the well-known name of a sender.
    """

    def __init__(self, ask_bus: Callable[[str, str], Awaitable[object]], owners: NameOwners) -> None:
        self._ask_bus = ask_bus
        self.owners = owners
        self._subscriptions: list[Subscription] = []

    async def add(self, rule: MatchRule, listener: Listener) -> Subscription:
        """Call the listener with what fits the rule. Raises BusError when the bus refuses the rule or is
        gone.
        """
        subscription = Subscription(rule, listener)
        # A signal can arrive in the same turn as the bus's answer, so the listener is there before.
        self._subscriptions.append(subscription)
        try:
            await self._ask_bus("AddMatch", rule.text)
        except BaseException:
            self._subscriptions.remove(subscription)
            raise
        return subscription

    async def end(self, subscription: Subscription) -> None:
        """The listener hears nothing more. A second call does nothing. Raises BusError."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            await self._ask_bus("RemoveMatch", subscription.rule.text)

    def listeners(self, signal: Incoming) -> list[Listener]:
        """The listeners that this signal is for, in the order in which they have subscribed."""
        return [
            each.listener
            for each in self._subscriptions
            if each.rule.fits(signal, self.owners.owner(each.rule.sender))
        ]

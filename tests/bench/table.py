"""What the benchmark reports: measured values, and the Markdown table they end in. No measuring here."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Row:
    """One line: the values of each service over the repeated runs, and what the issue asks for.

    unit: of the values. more: True where a larger value is the better one. goals: label -> the least ratio by
    which it must be better than libvirt-dbus; `limit`: label -> the largest value (the least, where more).
    """

    name: str
    unit: str
    values: dict[str, list[float]] = field(default_factory=dict)
    more: bool = False
    goals: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def add(self, label: str, value: float) -> None:
        self.values.setdefault(label, []).append(value)

    def median(self, label: str) -> float | None:
        return statistics.median(self.values[label]) if self.values.get(label) else None

    def ratio(self, label: str, peer: str) -> float | None:
        """How many times better than the peer, by the medians."""
        own, other = self.median(label), self.median(peer)
        if own is None or not other or not own:
            return None
        return own / other if self.more else other / own

    def missed(self, peer: str) -> list[str]:
        """The goals not reached, in words."""
        found = []
        for label, goal in self.goals.items():
            ratio = self.ratio(label, peer)
            if ratio is not None and ratio < goal:
                found.append(f"{label}: {ratio:.2g} times instead of {goal:.3g}")
        for label, limit in self.limits.items():
            value = self.median(label)
            if value is not None and (value < limit if self.more else value > limit):
                found.append(f"{label}: {shown(value)} instead of {shown(limit)} {self.unit}")
        return found


def shown(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(rows: Sequence[Row], labels: Sequence[str], peer: str, others: Sequence[str] = ()) -> str:
    """The table, with the ratio to the peer behind each value of `labels`; others: columns without."""
    columns = [*others, peer, *labels]
    lines = ["| | unit | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    for row in rows:
        cells = [shown(row.median(label)) for label in (*others, peer)]
        for label in labels:
            ratio = row.ratio(label, peer)
            cells.append(shown(row.median(label)) + (f" ({shown(ratio)}×)" if ratio else ""))
        lines.append(f"| {row.name} | {row.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

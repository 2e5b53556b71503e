"""View how good a model is, and who says so: each statement, and one figure of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final, TypedDict

# Whose word stands first: the owner's is of a run's test data; among parties of a kind the median counts.
ROLES: Final = ("owner", "miner", "device")


class StatementView(TypedDict):
    """What one party says of the model in force after a round; `cid` is that of its signed statement.

    `samples` of its own held-out data. A metric that is no finite number is None.
    """

    round: int
    party: str
    role: str
    samples: int
    loss: float | None
    metrics: dict[str, float | None]
    cid: str


class FigureView(TypedDict):
    """One figure of several statements: the owner's, or the median of so many parties of a kind."""

    role: str
    parties: int
    loss: float | None
    metrics: dict[str, float | None]


def figure_view(statements: Sequence[StatementView]) -> FigureView | None:
    """Return the figure that a round's statements come to; None without any."""
    for role in ROLES:
        group = [item for item in statements if item["role"] == role]
        if group:
            counts = Counter(name for item in group for name in item["metrics"])
            names = [name for name, count in counts.items() if 2 * count > len(group)]
            return {
                "role": role,
                "parties": len(group),
                "loss": _median([item["loss"] for item in group]),
                "metrics": {name: _median([item["metrics"].get(name) for item in group]) for name in names},
            }
    return None


def _median(values: Sequence[float | None]) -> float | None:
    """Return the median of what over half of the parties say: fewer do not speak for all of them."""
    known = [value for value in values if value is not None]
    return median(known) if 2 * len(known) > len(values) else None

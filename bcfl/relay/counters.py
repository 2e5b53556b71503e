"""Count what a process does, in the text format of Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

PROMETHEUS: Final = "text/plain; version=0.0.4"  # the type of the text


class Counters:
    """Count events by name and label, and hold gauges by name and label; from any thread.

    `refreshers` are called before the text is made, to set gauges that change by themselves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._gauges: dict[tuple[str, str], float] = {}
        self.refreshers: list[Callable[[], None]] = []

    def declare(self, *names: str) -> None:
        """Show counters from the beginning on, as 0."""
        with self._lock:
            for name in names:
                self._counts[name, ""] += 0

    def count(self, name: str, label: str = "") -> None:
        """Add one to a counter."""
        with self._lock:
            self._counts[name, label] += 1

    def set(self, name: str, value: float, label: str = "") -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges[name, label] = value

    def text(self) -> str:
        """Return all of them in the text format of Prometheus."""
        for refresh in self.refreshers:
            refresh()
        with self._lock:
            groups = [
                ("counter", [(name, label, f"{n}") for (name, label), n in sorted(self._counts.items())]),
                ("gauge", [(name, label, f"{n:g}") for (name, label), n in sorted(self._gauges.items())]),
            ]
        lines: dict[str, None] = {}
        for kind, items in groups:
            for name, label, number in items:
                lines[f"# TYPE bcfl_{name} {kind}"] = None
                lines[f"bcfl_{name}{{{label}}} {number}" if label else f"bcfl_{name} {number}"] = None
        return "\n".join(lines) + "\n"


def label(name: str, value: str) -> str:
    """Return a label, its value such that it cannot end early."""
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{text}"'

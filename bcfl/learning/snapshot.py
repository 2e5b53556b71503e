"""Put a module back to what it was when it was built, all but the values of its tensors.

Parties of a process take turns with one module. A hook that a training leaves behind, a layer that it
freezes, a counter that `forward` replaces would otherwise be the next party's too, and what that one learns
would depend on who came before.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

PLAIN = (dict, OrderedDict, list, set)  # what an attribute may hold that code adds to


class Snapshot:
    """The attributes of a module and of its parts, what plain containers in them hold, what is trained."""

    def __init__(self, module: nn.Module) -> None:
        parts = [vars(part) for part in module.modules()]
        values = [value for part in parts for value in part.values() if type(value) in PLAIN]
        self._contents: list[tuple[Any, Any]] = [(each, each.copy()) for each in (*parts, *values)]
        self._trained = [(each, each.requires_grad) for each in module.parameters()]

    def restore(self) -> None:
        """Put all of it back; tensors keep their values."""
        for place, content in self._contents:
            if isinstance(place, list):
                place[:] = content
            else:
                place.clear()
                place.update(content)
        self.thaw()

    def thaw(self) -> None:
        """Have those parameters trained that were when the module was built, and no others."""
        for parameter, is_trained in self._trained:
            parameter.requires_grad_(is_trained)

"""The chains that an episode can be played on, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.chain import BytecodeChain


def _specification() -> type[Any]:
    from tests.simulation.specification import SpecificationChain

    return SpecificationChain


CHAINS: dict[str, Callable[[], type[Any]]] = {
    "bytecode": lambda: BytecodeChain,
    "specification": _specification,
}

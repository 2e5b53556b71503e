"""A draft of the state is a copy for one call: what it changes is in nothing else."""

from __future__ import annotations

import pytest

from bcfl.specification.state import State


def test_a_draft_changes_nothing_but_itself() -> None:
    state = State()
    state.registry.stakes["miner"] = 1
    draft = state.draft()
    draft.registry.stakes["miner"] += 1
    draft.treasury.pool = 7
    assert (state.registry.stakes["miner"], state.treasury.pool) == (1, 0)
    assert (draft.registry.stakes["miner"], draft.treasury.pool) == (2, 7)


def test_a_draft_that_is_copied_can_be_restored() -> None:
    state = State()
    state.registry.stakes["miner"] = 1
    draft = state.draft()
    draft.treasury.pool = 7
    earlier = draft.copy()
    draft.registry.stakes["miner"], draft.treasury.pool = 5, 8
    draft.restore(earlier)
    assert (draft.registry.stakes["miner"], draft.treasury.pool) == (1, 7)
    assert state.registry.stakes["miner"] == 1


def test_a_draft_has_no_other_modules() -> None:
    with pytest.raises(AttributeError):
        _ = State().draft().nothing  # type: ignore[attr-defined]

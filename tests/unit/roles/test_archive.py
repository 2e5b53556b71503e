"""A model whose bytes are gone is computed again from the last one that can be read; the root decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.errors import PayloadError, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.roles.archive import Archive
from bcfl.storage import DirectoryStore
from tests.village import LAYOUT, Village

ROUNDS = 4


@pytest.fixture
def village(tmp_path: Path) -> Village:
    made = Village(tmp_path, devices=3, miners=3)
    made.play(ROUNDS)
    return made


def place(village: Village, digest: bytes) -> Path:
    name = str(cids.Cid(cids.RAW, digest))
    return next(path for path in village.store.path.rglob(name))


def fresh(village: Village) -> Archive:
    return Archive(DirectoryStore(village.store.path), LAYOUT, village.terms)


def test_default_behavior(village: Village) -> None:
    block, history = village.history.blocks[2], village.history
    right = fresh(village).model(block)
    place(village, block.cid).unlink()
    with pytest.raises(Unavailable):
        fresh(village).model(block)
    assert np.array_equal(fresh(village).model(block, history), right)
    assert np.array_equal(fresh(village).model(block), right)  # it is on the store again


def test_wrong_bytes_are_no_bytes(village: Village) -> None:
    block, history = village.history.blocks[3], village.history
    right = fresh(village).model(block)
    place(village, block.cid).write_bytes(b"something else")
    assert np.array_equal(fresh(village).model(block, history), right)


def test_any_number_of_models_may_be_gone(village: Village) -> None:
    blocks, history = village.history.blocks, village.history
    right = fresh(village).model(blocks[-1])
    for block in blocks[1:]:
        place(village, block.cid).unlink()
    assert np.array_equal(fresh(village).values(blocks[-1], history), fresh(village).values(blocks[-1]))
    assert np.array_equal(fresh(village).model(blocks[-1]), right)


def test_a_leader_that_lied_about_the_cid_keeps_nobody_from_the_model(village: Village) -> None:
    block, history = village.history.blocks[2], village.history
    right = fresh(village).model(block)
    lied = replace(block, cid=bytes(32))
    history.blocks[2] = lied
    archive = fresh(village)
    assert np.array_equal(archive.model(lied, history), right)
    taken = history.rounds[3].taken()
    assert archive.next_model(lied, taken, history).root == history.blocks[3].root


def test_the_root_decides(village: Village) -> None:
    block, history = village.history.blocks[2], village.history
    place(village, block.cid).unlink()
    forged = replace(block, root=bytes(32))
    history.blocks[2] = forged
    with pytest.raises(PayloadError, match="do not come to its model"):
        fresh(village).model(forged, history)


def test_nothing_helps_when_the_updates_are_gone_too(village: Village) -> None:
    block, history = village.history.blocks[2], village.history
    place(village, block.cid).unlink()
    place(village, history.rounds[2].submissions[0].update.cid).unlink()
    with pytest.raises(StoreError):
        fresh(village).model(block, history)


def test_the_run_goes_on_when_a_model_is_lost(village: Village) -> None:
    place(village, village.history.head.cid).unlink()
    village.archive.forget()
    assert village.play().status == "finalized"

"""A model whose bytes are gone is computed again from the last one that can be read; the root decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.errors import PayloadError, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.protocol import merkle
from bcfl.protocol.fixedpoint import Lanes
from bcfl.roles.common import memory
from bcfl.roles.common.archive import Archive
from bcfl.storage import DirectoryStore
from tests.local_federation import LAYOUT, LocalFederation

ROUNDS = 4


@pytest.fixture
def local(tmp_path: Path) -> LocalFederation:
    local_federation = LocalFederation(tmp_path, devices=3, miners=3)
    local_federation.play(ROUNDS)
    return local_federation


def path_of(local: LocalFederation, digest: bytes) -> Path:
    name = str(cids.Cid(cids.RAW, digest))
    return next(path for path in local.store.path.rglob(name))


def new_archive(local: LocalFederation) -> Archive:
    return Archive(DirectoryStore(local.store.path), LAYOUT, local.terms)


def test_default_behavior(local: LocalFederation) -> None:
    block, history = local.history.blocks[2], local.history
    model = new_archive(local).model(block)
    path_of(local, block.cid).unlink()
    with pytest.raises(Unavailable):
        new_archive(local).model(block)
    assert np.array_equal(new_archive(local).model(block, history), model)
    assert np.array_equal(new_archive(local).model(block), model)  # it is on the store again


def test_wrong_bytes_are_no_bytes(local: LocalFederation) -> None:
    block, history = local.history.blocks[3], local.history
    model = new_archive(local).model(block)
    path_of(local, block.cid).write_bytes(b"something else")
    assert np.array_equal(new_archive(local).model(block, history), model)


def test_any_number_of_models_may_be_gone(local: LocalFederation) -> None:
    blocks, history = local.history.blocks, local.history
    model = new_archive(local).model(blocks[-1])
    for block in blocks[1:]:
        path_of(local, block.cid).unlink()
    assert np.array_equal(
        new_archive(local).values(blocks[-1], history), new_archive(local).values(blocks[-1])
    )
    assert np.array_equal(new_archive(local).model(blocks[-1]), model)


def test_a_leader_that_lied_about_the_cid_keeps_nobody_from_the_model(local: LocalFederation) -> None:
    block, history = local.history.blocks[2], local.history
    model = new_archive(local).model(block)
    false_block = replace(block, cid=bytes(32))
    history.blocks[2] = false_block
    archive = new_archive(local)
    assert np.array_equal(archive.model(false_block, history), model)
    submissions = history.rounds[3].accepted_submissions()
    assert archive.next_model(false_block, submissions, history).root == history.blocks[3].root


def test_the_root_decides(local: LocalFederation) -> None:
    block, history = local.history.blocks[2], local.history
    path_of(local, block.cid).unlink()
    forgery = replace(block, root=bytes(32))
    history.blocks[2] = forgery
    with pytest.raises(PayloadError, match="do not come to its model"):
        new_archive(local).model(forgery, history)


def test_nothing_helps_when_the_updates_are_gone_too(local: LocalFederation) -> None:
    block, history = local.history.blocks[2], local.history
    path_of(local, block.cid).unlink()
    path_of(local, history.rounds[2].submissions[0].update.cid).unlink()
    with pytest.raises(StoreError):
        new_archive(local).model(block, history)


def test_the_run_goes_on_when_a_model_is_lost(local: LocalFederation) -> None:
    path_of(local, local.history.head.cid).unlink()
    local.archive.forget()
    assert local.play().status == "finalized"


def test_a_root_is_computed_once_for_each_content(
    local: LocalFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed, published, forgotten and read again, a vector is hashed leaf by leaf once."""
    archive, contents, compute = new_archive(local), list[bytes](), merkle.root

    def root(lanes: Lanes, leaf_lanes: int) -> bytes:
        contents.append(lanes.tobytes())
        return compute(lanes, leaf_lanes)

    monkeypatch.setattr(merkle, "root", root)
    one, other = (np.arange(LAYOUT.parameters, dtype=np.int32) + start for start in (0, 1))
    stored = archive.put(one)
    archive.forget()
    assert np.array_equal(archive.fetch_model(0, stored.root, stored.cid), one)
    assert archive.put(one) == stored
    assert len(contents) == 1
    second = archive.put(other)
    assert second.root != stored.root
    archive.forget()
    with pytest.raises(PayloadError, match="do not have the stated root"):
        archive.fetch_model(0, stored.root, second.cid)
    assert len(contents) == 2


def test_the_oldest_roots_are_forgotten(local: LocalFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_ROOTS", 2)
    archive = new_archive(local)
    for start in range(5):
        archive.put(np.full(LAYOUT.parameters, start, dtype=np.int32))
    assert len(archive._memory._roots) == 2

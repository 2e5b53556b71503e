"""Make the pages of the model ledger: its blocks, one block, and the check of a model's bytes."""

from __future__ import annotations

import time
from typing import Any

from bcfl.errors import BcflError, ConfigError, Corrupt, PayloadError, StoreError
from bcfl.explorer.page import NotFound, Page, Params, cut
from bcfl.federation.query import Query
from bcfl.federation.views.model import to_safetensors
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Block, Engine


def models_page(query: Query, params: Params) -> Page:
    """Return the chain of blocks, the latest first."""
    rows, part = cut(query.history.blocks[::-1], params, 25)
    content = {"blocks": [_block(query, block) for block in rows], **part.json}
    return Page("models.html", "Models", content, "models", {"part": part})


def model_page(query: Query, number: int) -> Page:
    """Return the page of the block of a round; raises NotFound."""
    block = find_block(query, number)
    view = {**query.model_view(number), "attested": _attested(query, block)}
    layout = query.layout
    tensors = (
        [] if layout is None else [{"name": t.name, "shape": list(t.shape)} for t in layout.tensors[:500]]
    )
    numbers = [item.round for item in query.history.blocks]
    place = numbers.index(number)
    extra = {
        "before": numbers[place - 1] if place else None,
        "after": numbers[place + 1] if place + 1 < len(numbers) else None,
    }
    return Page("model.html", f"Model {number}", {**view, "tensors": tensors}, "models", extra)


def check_page(query: Query, number: int) -> Page:
    """Return whether the bytes of a model give the root on chain, computed now from the store.

    `holds` is None where there are no bytes to judge: who keeps them back makes no right model wrong.
    """
    block = find_block(query, number)
    begin = time.perf_counter()
    view: dict[str, Any] = {"round": number, "root": block.root, "holds": True, "reason": None}
    try:
        query.read_model(block)
    except (StoreError, PayloadError, ConfigError) as error:
        is_known = isinstance(error, Corrupt) or not isinstance(error, StoreError)
        view |= {"holds": False if is_known else None, "reason": str(error)}
    view["seconds"] = round(time.perf_counter() - begin, 4)
    return Page("check.html", f"Check of model {number}", view, "models")


def find_block(query: Query, number: int) -> Block:
    """Return the block of a round; raises NotFound."""
    for block in query.history.blocks:
        if block.round == number:
            return block
    raise NotFound(f"round {number} has no block in the model ledger")


def stored_bytes(query: Query, number: int) -> bytes:
    """Return the bytes of a model as they hash to its CID; raises NotFound where nobody holds them."""
    try:
        return query.model_bytes(find_block(query, number))
    except StoreError as error:
        raise NotFound(str(error)) from None


def as_floats(query: Query, number: int) -> bytes:
    """Return a model as a file of float32 tensors, its root checked; raises NotFound."""
    block = find_block(query, number)
    try:
        layout, lanes = query.read_model(block)
    except (StoreError, PayloadError) as error:
        raise NotFound(str(error)) from None
    facts = {
        "round": str(number),
        "contract": query.contract.address,
        "cid": query.model_cid(block.round, block.cid),
    }
    return to_safetensors(layout, lanes, query.terms.scale_bits, facts)


def _block(query: Query, block: Block) -> dict[str, Any]:
    try:
        held = any(
            query.store.has(query.model_cid(block.round, digest))
            for digest in query.history.model_cids(block)
        )
    except BcflError:
        held = False
    return {
        "round": block.round,
        "root": block.root,
        "cid": query.model_cid(block.round, block.cid),
        "block_hash": block_hash(block),
        "parent": block.parent,
        "leader": block.leader if block.round else None,
        "engine": Engine(block.engine).name.lower() if block.round else None,
        "reward": block.reward,
        "attested": _attested(query, block),
        "held": held,
    }


def _attested(query: Query, block: Block) -> list[str]:
    """Return who attested a block, from its mask."""
    members = query.history.miners.values()
    return [member.account for member in members if block.attested >> member.index & 1]

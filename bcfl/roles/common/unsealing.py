"""Read sealed models with whatever keys are at hand, and say where none opens them."""

from __future__ import annotations

from bcfl.errors import PayloadError, Sealed, StoreError
from bcfl.protocol.fixedpoint import Model
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Block
from bcfl.roles.common.archive import Archive


def open_model(archive: Archive, block: Block, history: History) -> Model:
    """Return a block's model, (parameters,), under the first CID stated for it that is right.

    Raises Sealed where bytes of its length are there and no key opens them, else another StoreError or
    PayloadError.
    """
    failures: list[PayloadError | StoreError] = []
    for digest in history.model_cids(block):
        try:
            return archive.fetch_model(block.round, block.root, digest)
        except (PayloadError, StoreError) as error:
            failures.append(error)
    raise next((error for error in failures if isinstance(error, Sealed)), failures[0])

"""Steps 6 to 8: every CID to its bytes, and every model bit for bit from the accepted updates."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.errors import PayloadError, StoreError
from bcfl.protocol.challenges import Form
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Block
from bcfl.roles.auditor.submissions import Found
from bcfl.roles.auditor.turns import Turn
from bcfl.roles.common.archive import Archive, NewModel

UNREADABLE = (PayloadError, StoreError)


class Models:
    """The vectors of a federation, round after round; a model that cannot be read is recomputed."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.lazy: tuple[str, ...] = ()  # of the round that was checked last
        self.missing: list[int] = []  # rejected updates of it whose bytes cannot be had or are not right

    def stored(self, block: Block) -> Iterator[Found]:
        """Whether the store holds a block's model."""
        try:
            self.archive.model(block)
        except UNREADABLE as error:
            yield "model.bytes", str(error)

    def check(self, before: Block, found: Round, turns: list[Turn], history: History) -> Iterator[Found]:
        """Everything that is wrong with the vectors of a round that starts from the model `before`."""
        self.lazy, self.missing = (), []
        bad = list(self._updates(found))
        yield from bad
        if found.accepted is None or bad:
            return
        taken = found.taken()
        if not taken:
            return
        try:
            made = self.archive.next_model(before, taken, history)
        except UNREADABLE as error:
            yield "model.before", str(error)
            return
        yield from self._proposed(made, turns, found)
        if found.block is not None:
            yield from self._final(made, found.block)

    def _updates(self, found: Round) -> Iterator[Found]:
        """The bytes of every update; those of a rejected one may be gone, or be what it was rejected for."""
        for item in found.submissions:
            try:
                self.archive.update(item)
            except UNREADABLE as error:
                if self._taken(found, item):
                    yield f"updates[{item.position}].bytes", str(error)
                else:
                    self.missing.append(item.position)

    @staticmethod
    def _taken(found: Round, item: Submission) -> bool:
        return found.accepted is not None and found.accepted[item.position]

    def _proposed(self, made: NewModel, turns: list[Turn], found: Round) -> Iterator[Found]:
        """Every proposal beside what is right; of a wrong one that did not become final, who attested it."""
        for turn in turns:
            if turn.proposed is None:
                continue
            args = turn.proposed.args
            wrong = [name for name in ("root", "cid", "rows") if args[name] != getattr(made, name)]
            if wrong:
                self.lazy += tuple(turn.supporters)
            silent = turn.refuted is not None and turn.refuted.args["form"] == Form.DISPUTE
            if turn.refuted is not None and not silent and not {"root", "rows"} & set(wrong):
                yield "challenges", f"the proposal of {turn.leader} was refuted, and it was right"
            if wrong and turn is turns[-1] and found.block is not None:
                for name in wrong:
                    yield f"proposal.{name}", f"the accepted updates come to 0x{getattr(made, name).hex()}"

    def _final(self, made: NewModel, block: Block) -> Iterator[Found]:
        if block.root != made.root:
            yield "model.root", f"the accepted updates come to 0x{made.root.hex()}"
        elif block.cid != made.cid:
            yield "model.cid", f"the bytes of this model have the digest 0x{made.cid.hex()}"
        else:
            yield from self.stored(block)

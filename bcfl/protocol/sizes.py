"""Tell how long the vectors of a federation are on the store, and with that their CIDs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bcfl.protocol import cid, payload
from bcfl.protocol.limits import MODEL_BITS
from bcfl.protocol.privacy import Privacy
from bcfl.protocol.readers import TAG_BYTES, WRAP_BYTES
from bcfl.protocol.rounds import Submission
from bcfl.protocol.types import Layout


@dataclass(frozen=True)
class Sizes:
    """The lengths in bytes of what is stored for a layout, with updates of so many bits a lane.

    They follow from the layout, and of a sealed update from the number of its readers: no length tells more.
    """

    layout: Layout
    lane_bits: int

    @cached_property
    def privacy(self) -> Privacy:
        """Return what is sealed; raises ConfigError for a layout that this version does not know."""
        return Privacy.of(self.layout)

    def seals_model(self, number: int) -> bool:
        """Whether the model of a round is sealed for the members; the first one, of round 0, never is."""
        return self.privacy.members and number > 0

    def model(self, number: int) -> int:
        """Return the length of a round's model."""
        return self._plain_model + TAG_BYTES * self.seals_model(number)

    def update(self, readers: int) -> int:
        """Return the length of an update, of a round with so many voters."""
        plain = self._plain_update
        return WRAP_BYTES * readers + plain + TAG_BYTES if self.privacy.confidential else plain

    @cached_property
    def _plain_model(self) -> int:
        return payload.size(self.layout, MODEL_BITS)

    @cached_property
    def _plain_update(self) -> int:
        return payload.size(self.layout, self.lane_bits)

    def model_cid(self, number: int, digest: bytes) -> str:
        """Return the CID that the digest of a round's model stands for."""
        return cid.from_digest(digest, self.model(number))

    def update_cid(self, submission: Submission) -> str:
        """Return the CID of a revealed update."""
        return cid.from_digest(submission.update.cid, self.update(submission.readers))

"""Put a generated proposal before the contract: its storage is written, all else is as deployed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from bcfl.errors import Reverted
from bcfl.ledger.contract import Receipt
from bcfl.protocol.challenges import Challenge, ChallengeContext
from bcfl.protocol.evidence import Evidence
from bcfl.protocol.limits import MODEL_BITS
from bcfl.protocol.types import Phase, Terms, Voter
from testkit.forged_proposals import Setting, assemble, random_lanes
from testkit.harness import TERMS, Federation
from testkit.storage_slots import StorageSlots

ROUND, DEADLINE, EXPECTED = 20, 88, 188  # shifts in the clock
TURN, VOTING, ATTESTED_WEIGHT, ATTESTED = 8, 16, 40, 64  # in the lead


@dataclass
class ProposalFixture:
    """A federation in its first round whose miner 0 leads and has proposed what `put_proposal` says."""

    terms: Terms = TERMS
    miners: int = 3
    federation: Federation = field(init=False)

    def __post_init__(self) -> None:
        self.federation = Federation(devices=0, miners=self.miners, terms=self.terms).open()
        self.storage = StorageSlots(self.federation.chain, self.federation.contract.address)
        self.opened_root = self.storage.snapshot()

    @property
    def setting(self) -> Setting:
        """What ties a generated proposal to this federation."""
        keys = enumerate(self.federation.miner_keys)
        voters = tuple(Voter(key.address, 1, index=seat).word for seat, key in keys)
        return Setting(self.federation.domain, voters)

    def evidence(self, seed: int, accepted: Sequence[bool]) -> Evidence:
        """Assemble a right proposal of random updates, of which some are accepted."""
        rng, terms = Random(seed), self.terms
        lanes = [random_lanes(rng, terms, terms.lane_bits) for _ in range(sum(accepted))]
        return assemble(rng, terms, random_lanes(rng, terms, MODEL_BITS), lanes, list(accepted), self.setting)

    def put_proposal(self, context: ChallengeContext) -> None:
        """Set the round to where a proposal waits for attestations."""
        self.storage.restore(self.opened_root)
        count = self.miners
        deadline = self.federation.chain.now() + self.terms.attest_seconds
        clock = Phase.ATTEST | context.round << ROUND | deadline << DEADLINE
        self.storage.put(
            ("rounds.clock", None, clock | ((1 << count) - 1) << EXPECTED),
            ("election.lead", None, count << VOTING | 1 << ATTESTED_WEIGHT | 1 << ATTESTED),
            ("proposals.proposal", None, int.from_bytes(context.proposal, "big")),
            ("proposals.root", None, int.from_bytes(context.parent_root, "big")),
            ("verification.accepted", None, int.from_bytes(context.accepted, "big")),
        )

    def send(self, challenge: Challenge, bond: int | None = None) -> Receipt:
        """Send the challenge as a transaction of an outsider."""
        function, args = challenge.call()
        value = self.terms.challenge_bond if bond is None else bond
        return self.federation.send(self.federation.outsider, function, *args, value=value)

    def ruling(self, challenge: Challenge) -> bool | str:
        """Return the contract's ruling: refuted, failed, or the reason why it does not open."""
        try:
            names = {event.name for event in self.send(challenge).events}
        except Reverted as error:
            return str(error)
        assert ("Refuted" in names) != ("ChallengeFailed" in names)
        return "Refuted" in names

    def size(self, challenge: Challenge) -> int:
        """Return the number of bytes of the calldata."""
        function, args = challenge.call()
        return len(self.federation.contract.encode(function, *args))

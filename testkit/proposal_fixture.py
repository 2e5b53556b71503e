"""Put a generated proposal before the contract: its storage is written, all else is as deployed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from bcfl.errors import Reverted
from bcfl.ledger.contract import Receipt
from bcfl.protocol.challenges import Challenge, ChallengeContext, cid_mark
from bcfl.protocol.docket import MIN_SALT, WINDOW_PARTS, seal
from bcfl.protocol.evidence import Evidence
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import MODEL_BITS
from bcfl.protocol.types import Phase, Terms, Voter
from testkit.flat_chain import FlatChain, Snapshot
from testkit.forged_proposals import Setting, assemble, random_lanes
from testkit.harness import CHALLENGED, Account, Federation, digest
from testkit.ledgers import BYTECODE, CHOSEN, slots_of

ROUND, DEADLINE, SINCE, EXPECTED = 20, 76, 108, 188  # shifts in the clock
TURN, WHOLE, ATTESTED_WEIGHT, ATTESTED = 8, 16, 40, 64  # in the lead
STANDING = 2**14  # bit of the lead
CONTENT, NAMED = 64, 8  # shifts in the proposal, above the author's seat
CID = digest("a model's cid")  # of every proposal that is put before the contract
SALT = MIN_SALT | 7


@dataclass
class ProposalFixture:
    """A federation in its first round whose miner 0 leads and has proposed what `put_proposal` says."""

    terms: Terms = CHALLENGED
    miners: int = 3
    kind: str = CHOSEN  # of ledger
    federation: Federation = field(init=False)
    context: ChallengeContext = field(init=False)

    def __post_init__(self) -> None:
        self.federation = Federation(devices=0, miners=self.miners, terms=self.terms, kind=self.kind).open()
        self.storage = slots_of(self.federation.contract)
        self.opened_root = self.storage.snapshot()
        chain = self.federation.chain
        self._opened_chain: Snapshot | None = None
        if isinstance(chain, FlatChain) and self.kind == BYTECODE:  # a twin does not go back
            self._opened_chain = chain.snapshot()

    def rewind(self) -> None:
        """Go back to the opened round, its block and its second; beside a twin the chain goes on."""
        if self._opened_chain is not None:
            chain = self.federation.chain
            assert isinstance(chain, FlatChain)
            chain.restore(self._opened_chain)
        self.federation.receipts.clear()

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

    def put_proposal(self, context: ChallengeContext, attested: int = 1, turn: int = 0) -> None:
        """Set the round to where a proposal waits for attestations; `attested` is a mask of seats."""
        self.context = context
        self.storage.restore(self.opened_root)
        self.stand(context, attested, turn)

    def stand(
        self, context: ChallengeContext, attested: int = 1, turn: int = 0, seats: int | None = None
    ) -> None:
        """Let a proposal stand in a turn, whatever was held against those before; `seats` may attest it."""
        self.context, count = context, self.miners
        expected = (1 << count) - 1 if seats is None else seats
        deadline = self.federation.chain.now() + self.terms.attest_seconds
        block = int(self.federation.chain.request("eth_blockNumber"), 16) & 0xFFFF
        clock = Phase.ATTEST | context.round << ROUND | deadline << DEADLINE | block << SINCE
        lead = turn << TURN | STANDING | count << WHOLE | attested.bit_count() << ATTESTED_WEIGHT
        content = int.from_bytes(context.proposal, "big") >> CONTENT << CONTENT
        named = int.from_bytes(cid_mark(CID), "big")
        self.storage.put(
            ("rounds.clock", None, clock | expected << EXPECTED),
            ("election.lead", None, lead | attested << ATTESTED),
            ("proposals.proposal", None, content | named << NAMED),
            ("proposals.root", None, int.from_bytes(context.parent_root, "big")),
            ("verification.accepted", None, int.from_bytes(context.accepted, "big")),
        )

    def stake(self, miner: int) -> int:
        """Return the stake of a miner, wei."""
        return int(self.federation.contract.call("miner", self.federation.miner_keys[miner].address)[2])

    def votes(self) -> tuple[list[int], list[bytes]]:
        """Let those of the setting have voted, and return what `expire` takes of them."""
        voters = list(self.setting.voters)
        bodies = [bytes(32)] * len(voters)
        links = bytes(32)
        for voter, body in zip(voters, bodies, strict=True):
            links = keccak(links + word(voter) + body)
        self.storage.put(("verification.votes", None, int.from_bytes(links, "big")))
        return voters, bodies

    @property
    def part(self) -> int:
        """The seconds after which an announcement opens."""
        return self.terms.challenge_seconds // WINDOW_PARTS

    def seal(self, challenge: Challenge, sender: Account, salt: int = SALT) -> bytes:
        """Return what announces a challenge."""
        return seal(challenge, sender.address, self.context.proposal, salt)

    def announce(self, challenge: Challenge, sender: Account | None = None, salt: int = SALT) -> bytes:
        """Announce a challenge; returns its sealed hash."""
        account = sender or self.federation.outsider
        sealed = self.seal(challenge, account, salt)
        self.federation.send(account, "announce_challenge", sealed, value=self.terms.challenge_bond)
        return sealed

    def open(self, challenge: Challenge, sender: Account | None = None, right: int = SALT) -> Receipt:
        """Open a challenge, or rule by it in the dispute with the number `right`."""
        function, args = challenge.call(right)
        return self.federation.send(sender or self.federation.outsider, function, *args)

    def send(self, challenge: Challenge) -> Receipt:
        """Announce a challenge of an outsider, wait, and open it."""
        self.announce(challenge)
        self.federation.wait(self.part)
        return self.open(challenge)

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
        function, args = challenge.call(SALT)
        return len(self.federation.contract.encode(function, *args))

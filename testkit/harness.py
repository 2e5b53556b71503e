"""A federation on the embedded chain of which a test can make, change or leave out every call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from eth_utils.address import to_canonical_address

from bcfl.errors import Reverted
from bcfl.ledger.contract import Receipt
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol import submissions, verification
from bcfl.protocol.challenges import proposal_digest
from bcfl.protocol.election import search
from bcfl.protocol.hashing import fold, word
from bcfl.protocol.limits import MULTICALL_BYTES
from bcfl.protocol.rounds import History
from bcfl.protocol.types import (
    Clock,
    Electorate,
    Engine,
    Mode,
    Opening,
    Phase,
    Tally,
    Terms,
    Update,
    Verdict,
    Voter,
)
from testkit import ledgers
from testkit.accounts import Account as Account
from testkit.accounts import account as account
from testkit.accounts import digest as digest
from testkit.claim_proofs import ClaimProofs
from testkit.terms import CHALLENGED as CHALLENGED
from testkit.terms import ETHER as ETHER
from testkit.terms import TERMS as TERMS


@contextmanager
def reverts(reason: str) -> Iterator[None]:
    """Check that the body reverts with exactly this reason."""
    with pytest.raises(Reverted, match=f"^{re.escape(reason)}$"):
        yield


@dataclass
class Federation(ClaimProofs):
    """Devices, miners and an owner; `terms` may be changed with `dataclasses.replace` before `open`."""

    devices: int = 4
    miners: int = 3
    terms: Terms = TERMS
    stakes: tuple[int, ...] = ()
    pool: int = 5 * ETHER
    full: bool = False  # miners are devices too
    gas: dict[str, int] = field(default_factory=dict)
    genesis: bytes = digest("root", 0)  # root of the first model
    kind: str = ledgers.CHOSEN  # of ledger

    def __post_init__(self) -> None:
        self.owner, self.outsider = account("owner"), account("outsider")
        self.device_keys = [account("device", i) for i in range(self.devices)]
        self.miner_keys = (
            self.device_keys[: self.miners]
            if self.full
            else [account("miner", i) for i in range(self.miners)]
        )
        everyone = {a.address for a in [self.owner, self.outsider, *self.device_keys, *self.miner_keys]}
        everyone |= {account("late", i).address for i in range(4)}
        genesis = (self.owner, self.terms, self.genesis, digest("cid", 0), self.pool)
        chain, self.contract, self.deployed, self.ledger = ledgers.deployed(self.kind, everyone, *genesis)
        self.chain: EmbeddedChain = chain  # type: ignore[assignment]  # or a virtual one
        self.domain = submissions.Domain(self.chain.chain_id, self.contract.address)
        self.receipts: dict[str, list[Receipt]] = {}
        self.tallies: dict[int, Tally] = {}

    def send(self, sender: Account, function: str, *args: object, value: int = 0) -> Receipt:
        receipt = self.contract.send(sender, function, *args, value=value)
        self.gas[function] = self.gas.get(function, 0) + receipt.gas_used
        self.receipts.setdefault(function, []).append(receipt)
        return receipt

    def open(self) -> Federation:
        """Register everybody and open the first round."""
        addresses = [key.address for key in self.device_keys]
        for start in range(0, len(addresses), 64):
            self.send(self.owner, "register_devices", addresses[start : start + 64])
        stakes = self.stakes or (2 * self.terms.min_stake - 1,) * self.miners  # one vote, penalties or not
        for key, stake in zip(self.miner_keys, stakes, strict=True):
            self.send(key, "register_miner", value=stake)
            if self.full and self.terms.mode != Mode.FULL:
                self.send(key, "accept_device")
        self.send(self.owner, "start")
        return self

    @property
    def engine(self) -> Engine:
        """The engine of the running round."""
        current = self.history().current
        assert current is not None
        return current.engine

    @property
    def clock(self) -> Clock:
        phase, *fields = self.contract.call("round_clock")
        return Clock(Phase(phase), *fields)

    # One update, one batch, one vote.

    def update(self, device: int, round_: int | None = None, **changes: object) -> Update:
        number = self.clock.round if round_ is None else round_
        update = Update(
            round=number,
            device=device,
            root=digest("root", number, device),
            cid=digest("cid", number, device),
            samples=50 + device,
            microseconds=900,
            salt=int.from_bytes(digest("salt", number, device)[:16], "big"),
        )
        return replace(update, **changes)  # type: ignore[arg-type]

    def commitment(self, update: Update) -> bytes:
        return submissions.commitment(self.domain, update)

    def sign(self, update: Update, key: Account | None = None) -> list[bytes]:
        signer = key or self.device_keys[update.device]
        signature = signer.private.sign_msg_hash(self.commitment(update))
        return [word(signature.r), word(signature.s | signature.v << 255)]

    def share(self, miner: int, round_: int | None = None) -> list[Update]:
        """Return the updates of the devices that a miner serves; devices take miners in turn."""
        number = self.clock.round if round_ is None else round_
        return [self.update(device, number) for device in range(miner, self.devices, self.miners)]

    def commit(self, sender: Account, updates: list[Update]) -> Receipt:
        return self.send(sender, "commit", submissions.batch_digest(map(self.commitment, updates)))

    def reveal_args(self, updates: list[Update], bits: int | None = None) -> list[object]:
        mask = (1 << len(updates)) - 1 if bits is None else bits
        revealed_updates = [u for i, u in enumerate(updates) if mask >> i & 1]
        return [
            mask,
            [u.root for u in revealed_updates],
            [u.cid for u in revealed_updates],
            [submissions.pack_claim(u) for u in revealed_updates],
            [self.sign(u) for u in revealed_updates],
            [self.commitment(u) for i, u in enumerate(updates) if not mask >> i & 1],
        ]

    def reveal(
        self,
        sender: Account,
        updates: list[Update],
        bits: int | None = None,
        submitter: Account | None = None,
    ) -> Receipt:
        return self.send(sender, "reveal", (submitter or sender).address, *self.reveal_args(updates, bits))

    def opening(
        self,
        miner: int,
        verdicts: list[Verdict] | None = None,
        wish: Engine | None = None,
        levels: Sequence[int] = (),
    ) -> Opening:
        number, address = self.clock.round, self.miner_keys[miner].address
        given = tuple(verdicts or [Verdict.ACCEPTED] * len(self.words()))
        return Opening(number, address, given, digest("vote", number, miner), wish, tuple(levels))

    def commit_vote(self, opening: Opening, sender: Account | None = None) -> Receipt:
        return self.send(sender or self.key_of(opening), "commit_vote", self.vote_digest(opening))

    def vote_digest(self, opening: Opening) -> bytes:
        """Return the digest of a vote, bound to the round's chain of updates."""
        return verification.vote_digest(opening, self.links())

    def links(self) -> bytes:
        """Return the digest of the running round's chain of updates."""
        return fold(word(item) for item in self.words())

    def unveil_args(self, opening: Opening) -> list[object]:
        return list(verification.unveil_args(opening))

    def unveil(self, opening: Opening, sender: Account | None = None) -> Receipt:
        return self.send(sender or self.key_of(opening), "unveil", *self.unveil_args(opening))

    def key_of(self, opening: Opening) -> Account:
        return next(key for key in self.miner_keys if key.address == opening.miner)

    # The running round so far, from the contract's events.

    def round_events(self, name: str, number: int | None = None) -> list[Mapping[str, Any]]:
        number = self.clock.round if number is None else number
        return [e.args for e in self.contract.events(name=name) if e.args["round"] == number]

    def updates(self, number: int | None = None) -> list[Update]:
        number = self.clock.round if number is None else number
        updates = []
        for args in self.round_events("Revealed", number):
            items = zip(args["roots"], args["cids"], args["claims"], strict=True)
            for root, cid, claim in (item for place, item in enumerate(items) if args["taken"] >> place & 1):
                updates.append(submissions.unpack_claim(number, root, cid, claim))
        return updates

    def words(self, number: int | None = None) -> list[int]:
        engine = self.history().rounds[self.clock.round if number is None else number].engine
        return [submissions.update_word(self.domain, update, engine) for update in self.updates(number)]

    def history(self) -> History:
        return self.ledger.history()

    def voter(self, address: str, wish: Engine | None = None) -> Voter:
        return self.history().voter(address, wish)

    def votes(self) -> list[verification.Vote]:
        return self.history().rounds[self.clock.round].votes

    def tally_args(self, votes: Sequence[verification.Vote] = ()) -> list[object]:
        """Return the lists for `votes`, by default for those unveiled so far."""
        return list(verification.tally_args(self.words(), votes or self.votes()))

    def skip_args(self) -> list[object]:
        return list(verification.skip_args(self.votes()))

    # Whole phases, honestly.

    def jury(self) -> list[int]:
        """Return the miners that may vote in the running round, by index."""
        electors = {member.account for member in self.history().electors()}
        return [index for index, key in enumerate(self.miner_keys) if key.address in electors]

    def seated(self) -> list[int]:
        """Return the miners that may act in the running round, by index."""
        seats = {member.account for member in self.history().voters()}
        return [index for index, key in enumerate(self.miner_keys) if key.address in seats]

    def commit_all(self) -> None:
        for index in self.seated():
            self.commit(self.miner_keys[index], self.share(index))

    def reveal_all(self) -> None:
        for index in self.seated():
            self.reveal(self.miner_keys[index], self.share(index))

    def vote_all(self, verdicts: list[list[Verdict]] | None = None) -> None:
        openings = [self.opening(i, verdicts[i] if verdicts else None) for i in self.jury()]
        for opening in openings:
            self.commit_vote(opening)
        for opening in openings:
            self.unveil(opening)

    def unveil_all(self) -> None:
        for index in self.jury():
            self.unveil(self.opening(index))

    def tally(self, sender: Account | None = None) -> Receipt:
        args = self.tally_args()
        self.tallies[self.clock.round] = self.twin_tally()
        return self.send(sender or self.outsider, "tally", *args)

    def twin_tally(self, votes: Sequence[verification.Vote] = ()) -> Tally:
        """Return what the twin counts of `votes`, by default of those unveiled so far."""
        current = self.history().current
        assert current is not None
        return verification.tally(self.words(), votes or self.votes(), current.electorate)

    def accepted(self) -> bytes:
        """Return the digest of the accepted set of the running round."""
        return verification.tally_digest(self.tallies[self.clock.round])

    def multi(self, sender: Account, label: str, calls: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Send several calls of one sender, in as few transactions as the buffer allows."""
        groups: list[list[bytes]] = [[]]
        for data in [self.contract.encode(name, *args) for name, args in calls]:
            if sum(map(len, groups[-1])) + len(data) > MULTICALL_BYTES:
                groups.append([])
            groups[-1].append(data)
        for group in groups:
            receipt = self.contract.send(
                sender, "multicall", b"".join(group), [len(data) for data in group], 0
            )
            self.gas[label] = self.gas.get(label, 0) + receipt.gas_used

    def leader(self) -> Account:
        address = self.contract.call("lead_now")[0]
        return next(key for key in self.miner_keys if key.address == address)

    def proposal(self) -> tuple[bytes, bytes, bytes]:
        """Return root, CID and rows that the leader proposes, or has proposed."""
        number = self.clock.round
        return digest("model", number), digest("model cid", number), digest("rows", number)

    def proposal_digest(self, proposal: tuple[bytes, bytes, bytes] | None = None) -> bytes:
        root, _, rows = self.proposal() if proposal is None else proposal
        return proposal_digest(self.clock.round, self.accepted(), root, rows)

    def solve(self, miner: int = 0) -> Receipt:
        seed, target = self.contract.call("puzzle"), self.contract.call("target")
        turn = self.contract.call("lead_now")[1]
        key = self.miner_keys[miner]
        nonce = search(seed, turn, key.address, target, 0, 10**6)
        return self.send(key, "solve", nonce)

    def propose(self) -> Receipt:
        return self.send(self.leader(), "propose", self.accepted(), *self.proposal())

    def attest_enough(self) -> None:
        for key in self.miner_keys:
            seat = 1 << self.contract.call("miner", key.address)[0]
            has_voted = self.clock.expected & seat
            if has_voted and not self.attested() and not self.contract.call("lead_now")[4] & seat:
                self.send(key, "attest", self.proposal_digest())

    def finalize(self, sender: Account | None = None) -> Receipt:
        return self.send(sender or self.outsider, "finalize", *self.proposal())

    def until(self, phase: Phase) -> Federation:
        """Play the running round honestly until `phase` is due."""
        acts: dict[Phase, Callable[[], object]] = {
            Phase.COMMIT: self.commit_all,
            Phase.REVEAL: self.reveal_all,
            Phase.VOTE: self.vote_all,
            Phase.UNVEIL: self.unveil_all,
            Phase.TALLY: self.tally,
            Phase.ELECT: self.solve,
            Phase.PROPOSE: self.propose,
            Phase.ATTEST: self.attest_enough,
        }
        while (now := self.clock.phase) != phase:
            if phase is Phase.UNVEIL and now is Phase.VOTE:
                for opening in [self.opening(i) for i in self.jury()]:
                    self.commit_vote(opening)
            else:
                acts[now]()
        return self

    def finish(self) -> Federation:
        """Play the running round honestly to its end."""
        self.until(Phase.ATTEST)
        self.attest_enough()
        self.wait(self.terms.challenge_seconds)
        self.finalize()
        return self

    def wait(self, seconds: int) -> None:
        self.chain.warp(self.chain.now() + seconds)

    def expire(self) -> None:
        """Let the running phase's deadline pass."""
        self.chain.warp(max(self.chain.now(), self.clock.deadline))

    def push(self) -> Federation:
        """Let an outsider and the deadlines alone bring the running round to its end."""
        number = self.clock.round
        for _ in range(8 + 4 * 64):
            clock = self.clock
            if clock.round != number:
                return self
            if clock.phase is Phase.TALLY:
                self.tally()
            elif clock.phase is Phase.ATTEST and self.attested():
                self.wait(self.terms.challenge_seconds)
                args = self.round_events("Proposed")[-1]
                proposal = [args[name] for name in ("root", "cid", "rows")]
                self.send(self.outsider, "finalize", *proposal)
            elif clock.phase in (Phase.PROPOSE, Phase.ATTEST):
                self.expire()
                self.send(self.outsider, "skip", *self.skip_args())
            else:
                self.expire()
                self.send(self.outsider, "advance")
        raise AssertionError(f"stuck in {self.clock}")

    def attested(self) -> bool:
        """Return whether so much attests the proposal that it can become final."""
        _, _, whole, weight, *_ = self.contract.call("lead_now")
        current = self.history().current
        assert current is not None
        return Electorate(whole, current.electorate.is_committee).decides(weight)

    def money(self) -> tuple[int, int, int, int]:
        """Return balance, stakes, owed and pool, wei."""
        return self.balance(self.contract.address), *map(self.contract.call, ("staked", "owed", "pool"))

    def balance(self, address: str) -> int:
        if isinstance(chain := self.contract.chain, EmbeddedChain):
            evm = chain._evm
            return int(evm.get_vm(evm.header).state.get_balance(to_canonical_address(address)))
        return int(chain.request("eth_getBalance", address), 16)

    def ranking(self) -> list[str]:
        return [voter.account for voter in self.history().rounds[self.clock.round].leader_order()]

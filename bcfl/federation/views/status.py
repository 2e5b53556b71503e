"""View where a federation stands now: what it waits for, from whom, until when; and how it went so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from bcfl.federation.views.committee import CommitteeView, federation_committee
from bcfl.federation.views.round import deadline_of
from bcfl.protocol.limits import shown_bytes
from bcfl.protocol.readers import without_key
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Clock, Engine, Mode, Phase

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient

TIMELESS: Final = (Phase.IDLE, Phase.VOID)  # phases whose deadline says nothing
# What whoever is awaited has to do in a phase.
WAITS: Final = {
    Phase.COMMIT: "to commit to updates",
    Phase.REVEAL: "to reveal updates",
    Phase.VOTE: "to commit to verdicts",
    Phase.UNVEIL: "to unveil verdicts",
    Phase.TALLY: "to count the votes",
    Phase.ELECT: "to win the race",
    Phase.PROPOSE: "to propose the new model",
    Phase.ATTEST: "to attest the new model",
    Phase.IDLE: "to open the first round",
    Phase.VOID: "to open the next round",
}
TO_END: Final = "to end"  # when all have done their part and its time is not over
LEFT_OUT: Final = "to commit alone, if left out"  # by their miners, which have all committed


class AwaitedView(TypedDict):
    """Somebody who may still act in the phase; the owner has no `account`."""

    role: str
    account: str


class MinerStatusView(TypedDict):
    """A miner's membership, and what it has done in the running round.

    `until_round` is the round from which a suspended one may resume.
    """

    miner: str
    stake: int
    weight: int
    endpoint: str | None
    left: bool
    suspended: bool
    until_round: int | None
    devices: int
    committed: bool
    voted: bool


class LastView(TypedDict):
    """The last model: its round (0: the genesis), root and leader."""

    round: int
    root: bytes
    leader: str


class CurrentView(TypedDict):
    """The running round; 0 before the first."""

    round: int
    phase: str
    waits: str
    awaited: list[AwaitedView]
    deadline: int | None
    overdue: bool
    updates: int


class StatusView(CurrentView):
    """A deployed federation now; amounts are in wei, times in seconds since 1970.

    `capture`: how often a third of the weight captures a committee, where one is drawn or may be wished for.
    `challenge_seconds`: in which a proposal is open to challenges; 0: there are none. `challenge_bytes`: that
    opening one shows at most, next to some 10,000 of proofs and tally.
    """

    deployment: str
    contract: str
    network: str
    chain_id: int
    now: int
    mode: str
    engine: str
    committee: list[str]
    capture: CommitteeView | None
    challenge_seconds: int
    challenge_bytes: int
    leader: str | None
    devices: int
    miners: list[MinerStatusView]
    blocks: int
    void: int
    pool: int  # wei
    paid_rounds: int | None  # whose whole reward the pool holds; None where rounds pay nothing by their terms
    last: LastView


def status_view(client: FederationClient) -> StatusView:
    """Return where a federation stands now."""
    ledger = client.ledger
    history, clock, now = ledger.history(), ledger.clock(), ledger.now()
    pool = int(ledger.contract.call("pool"))
    current = history.current or Round(0, 0, Engine(ledger.terms.engine))
    devices = history.expected_devices() if current.number else history.devices
    return {
        "deployment": client.name,
        "contract": client.address,
        "network": client.network.name,
        "chain_id": client.chain.chain_id,
        "now": now,
        **current_view(history, clock, now),
        "mode": Mode(ledger.terms.mode).name.lower(),
        "engine": current.engine.name.lower(),
        "committee": list(current.committee),
        "capture": federation_committee(history, ledger.terms, current.engine),
        "challenge_seconds": ledger.terms.challenge_seconds,
        "challenge_bytes": shown_bytes(
            ledger.terms.max_updates, ledger.terms.leaf_lanes, ledger.terms.lane_bits
        ),
        "leader": current.leader,
        "devices": len(devices),
        "miners": [_miner(history, account, current) for account in history.miners],
        "blocks": len(history.blocks) - 1,
        "void": sum(round_.void is not None for round_ in history.rounds.values()),
        "pool": pool,
        "paid_rounds": pool // ledger.terms.reward if ledger.terms.reward else None,
        "last": {"round": history.head.round, "root": history.head.root, "leader": history.head.leader},
    }


def current_view(history: History, clock: Clock, now: int) -> CurrentView:
    """Return what the running round waits for."""
    current = history.current
    deadline = None if clock.phase in TIMELESS else deadline_of(clock)
    awaited = _awaited(history, clock)
    return {
        "round": 0 if current is None else current.number,
        "phase": clock.phase.name.lower(),
        "waits": _waits(clock.phase, awaited, running=deadline is not None and now < deadline),
        "awaited": awaited,
        "deadline": deadline,
        "overdue": deadline is not None and now >= deadline,
        "updates": 0 if current is None else len(current.submissions),
    }


def _waits(phase: Phase, awaited: list[AwaitedView], *, running: bool) -> str:
    """Return what the phase waits for; `running`: its time is not over."""
    if phase is Phase.COMMIT and {item["role"] for item in awaited} == {"device"}:
        return LEFT_OUT
    return TO_END if running and not awaited else WAITS[phase]


def _awaited(history: History, clock: Clock) -> list[AwaitedView]:
    """Return who may still act in the phase."""
    current = history.current
    if clock.phase is Phase.IDLE or current is None:
        return [{"role": "owner", "account": ""}]
    if clock.phase is Phase.PROPOSE and current.leader is not None:
        return [{"role": "leader", "account": current.leader}]
    miners = _in_role("miner", _awaited_miners(history, clock, current))
    if clock.phase not in (Phase.COMMIT, Phase.REVEAL):
        return miners
    revealed = {item.update.device for item in current.submissions}
    devices = [history.devices[device] for device in history.expected_devices() if device not in revealed]
    return miners + _in_role("device", devices)


def _in_role(role: str, accounts: list[str]) -> list[AwaitedView]:
    return [{"role": role, "account": account} for account in accounts]


def _awaited_miners(history: History, clock: Clock, current: Round) -> list[str]:
    """Return the accounts of the miners that may still act."""
    if clock.phase is Phase.ATTEST and current.proposals:
        voters = [vote.voter.account for vote in current.votes]
        return [account for account in voters if account not in current.proposals[-1].attested]
    missing = 0 if clock.phase is Phase.TALLY else clock.expected & ~clock.acted
    return [member.account for member in history.miners.values() if missing >> member.index & 1]


def _miner(history: History, account: str, current: Round) -> MinerStatusView:
    member = history.miners[account]
    return {
        "miner": account,
        "stake": member.stake,
        "weight": member.weight,
        "endpoint": without_key(history.endpoints.get(account, "")) or None,
        "left": bool(member.exit_round),
        "suspended": member.suspended,
        "until_round": member.until_round if member.suspended else None,
        "devices": sum(history.binding(device) == account for device in history.expected_devices()),
        "committed": account in current.commits,
        "voted": account in current.vote_commits,
    }

"""Define what a run reports while it goes on, and when it has ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bcfl.roles.device import fit
from bcfl.roles.device.fit import Counts

if TYPE_CHECKING:
    from bcfl.federation.views.privacy import PrivacyReport

ADVERSARIAL = frozenset({"adversaries", "false_rejects", "false_accepts", "attack_success"})


@dataclass(frozen=True)
class Rejection:
    """A device whose update the tally did not accept, and the reason that most of the weight gave."""

    device: str  # address
    reason: str  # a Verdict, in lower case
    samples: int = 0  # that the model does not learn from


@dataclass(frozen=True)
class Loss:
    """What the filters took from one device over a run; if it was honest, that is their price."""

    device: str  # address
    rounds: int  # in which its update was left out
    samples: int  # in those updates
    reasons: dict[str, int]  # rounds by reason


@dataclass(frozen=True)
class Adversary:
    """Somebody whom the configuration made misbehave."""

    account: str
    role: str  # device or miner
    attack: str  # as somebody asked for it: NAME:SHARE[:KEY=VALUE,...]


@dataclass(frozen=True)
class LaneFit:
    """What the lanes of a round's updates and of its model could not hold."""

    moved: int  # coordinates that training changed, of all updates of honest devices
    saturated: int  # of them, those whose lane saturated
    vanished: int  # of them, those that were too small for a step of their lane
    edge: int  # values of the model that stand at an end of the range of int32
    tensors: dict[str, Counts]  # those of which much was lost

    @property
    def excess(self) -> str | None:
        """Return in words what is more than should be; None where all is well."""
        return excess_of([self])


def excess_of(fits: Sequence[LaneFit]) -> str | None:
    """Return in words what of the rounds' fits is more than should be; None where all is well."""
    whole = fit.total(Counts(item.saturated, item.vanished, item.moved) for item in fits)
    words = [fit.excess(whole, fit.merge(item.tensors for item in fits))]
    if fits and fits[-1].edge:
        words.append(f"{fits[-1].edge:,} values of the model stand at the edge of its range")
    return " and ".join(word for word in words if word) or None


@dataclass(frozen=True)
class RoundReport:
    """What came of one round. The model is the one in force after it: of a void round, the one before."""

    round: int
    status: str  # `finalized` or `void`
    reason: str | None  # why it is void, a VoidReason in lower case
    engine: str  # that decided who led it, an Engine in lower case
    committee: tuple[str, ...]  # addresses of its members, where the engine draws one
    leader: str | None
    accepted: tuple[str, ...]  # addresses of devices, in the order of the round
    rejected: tuple[Rejection, ...]
    global_root: str  # 0x and 64 digits
    global_cid: str
    block_hash: str | None  # None of a void round
    accuracy: float | None  # of the global model on the test data, 0 to 1; None: the task has none
    loss: float | None
    gas: int  # of all transactions of the round
    metrics: dict[str, float | None] = field(default_factory=dict)  # the task's, in its order
    false_rejects: int | None = None  # updates of honest devices that were rejected; None without adversaries
    false_accepts: int | None = None  # updates of adversaries that were accepted
    attack_success: float | None = None  # of a backdoor: share of triggered samples taken for its target
    fit: LaneFit | None = None  # None where no device's journal says

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them; those of adversaries only where there are any."""
        return _without(asdict(self), ADVERSARIAL)


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `report` when a round has just ended."""

    round: int
    rounds: int
    phase: str  # in lower case
    awaited: tuple[str, ...]  # who may still act in this phase
    report: RoundReport | None = None
    metric: str | None = "accuracy"  # that tables show; None: the loss alone
    workers: str | None = (
        None  # how many train, and how many were replaced, in words; None: this process does
    )


@dataclass(frozen=True)
class Report:
    """What came of a run."""

    run_dir: str
    contract: str
    rounds: tuple[RoundReport, ...]
    final_accuracy: float | None
    gas_per_participant: float  # of a round, divided by devices + miners
    seconds: float  # of wall time, without the earlier rounds
    adversaries: tuple[Adversary, ...] | None = None  # None without any
    false_rejects: int | None = None  # of all rounds
    false_accepts: int | None = None
    attack_success: float | None = None  # after the last round
    initial_root: str | None = None  # of the genesis model, 0x and 64 digits
    final_metrics: dict[str, float | None] = field(default_factory=dict)
    final_loss: float | None = None
    earlier_rounds: int = 0  # that the run had when it was resumed
    unpaid_rounds: int = 0  # finalized ones whose reward the pool could not pay, or not all of it
    privacy: PrivacyReport | None = None  # what updates told of the devices' data; None without noise

    @property
    def warning(self) -> str | None:
        """Return in words that nothing of use was learned, and what may be the cause; None where it was."""
        final = [round_ for round_ in self.rounds if round_.status == "finalized"]
        count = len(self.rounds)
        if not final:
            return f"nothing was learned: {_all_of(count)} void ({self._reasons()})"
        if final[-1].global_root == self.initial_root:
            return "nothing was learned: the model is as it began; no update moves a lane of it"
        loss = self.rounds[-1].loss
        if loss is not None and not math.isfinite(loss):
            return (
                "the model is of no use: its loss on the test data is no finite number; training may have "
                "diverged (--learning-rate), or values do not fit the lanes (--lane-bits 32)"
            )
        figures = {(round_.loss, *round_.metrics.values()) for round_ in final}
        if len(final) > 1 and len(figures) == 1 and set(*figures) != {None}:
            words = "the loss on the test data has not moved; the values may not fit the lanes"
            return f"nothing was learned: in {len(final)} rounds {words}"
        return None

    @property
    def fit_warning(self) -> str | None:
        """Return in words that values do not fit the lanes; None where they do."""
        words = excess_of([round_.fit for round_ in self.rounds if round_.fit is not None])
        if words is None:
            return None
        return f"{words}: state other exponents in the task, or take wider lanes (--lane-bits 32)"

    @property
    def pay_warning(self) -> str | None:
        """Return in words that the pool of rewards was empty; None where it paid every round."""
        if not self.unpaid_rounds:
            return None
        count, final = self.unpaid_rounds, sum(round_.status == "finalized" for round_ in self.rounds)
        return (
            f"the pool was empty in {count} of {final} rounds: nobody earned the whole reward there (--pool)"
        )

    def _reasons(self) -> str:
        """Say why rounds were void, and updates rejected, the most frequent reason first."""
        voids = Counter(round_.reason for round_ in self.rounds if round_.reason is not None)
        rejections = Counter(item.reason for round_ in self.rounds for item in round_.rejected)
        words = [reason.replace("_", " ") for reason, _ in voids.most_common()]
        words += [f"{count:,} {reason}" for reason, count in rejections.most_common()]
        return ", ".join(words)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Return what the filters took, the devices that lost most first."""
        rejections: dict[str, list[Rejection]] = {}
        for report in self.rounds:
            for item in report.rejected:
                rejections.setdefault(item.device, []).append(item)
        losses = [
            Loss(
                device,
                len(items),
                sum(item.samples for item in items),
                dict(Counter(i.reason for i in items)),
            )
            for device, items in rejections.items()
        ]
        return tuple(sorted(losses, key=lambda loss: (-loss.rounds, loss.device)))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as `bcfl run --json` prints them; adversaries and noise where there are any."""
        content = _without(asdict(self), ADVERSARIAL | {"privacy"})
        losses = [asdict(loss) for loss in self.losses]
        rounds = tuple(report.to_dict() for report in self.rounds)
        return content | {
            "rounds": rounds,
            "losses": losses,
            "warning": self.warning,
            "fit_warning": self.fit_warning,
            "pay_warning": self.pay_warning,
        }


def _all_of(count: int) -> str:
    return "its only round is" if count == 1 else f"all {count} rounds are"


def _without(content: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return the content without those of the names whose value is None."""
    return {name: value for name, value in content.items() if value is not None or name not in names}

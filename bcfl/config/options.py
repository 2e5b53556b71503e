"""Define every option of a run: what it means, what it may be, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from bcfl.adversaries import catalog
from bcfl.config.sources import explain
from bcfl.config.values import Budgeted, Lane, Noised, Specs, Wei, Wishes
from bcfl.errors import ConfigError
from bcfl.protocol import noise, privacy, wishes
from bcfl.protocol.limits import (
    MAX_LEAF_LANES,
    MAX_MINERS,
    MAX_PHASE_SECONDS,
    MAX_UPDATES,
)
from bcfl.protocol.wishes import Wish

# At scale_bits = 24, 16-bit lanes reach +-2 and 8-bit lanes +-1/2; what saturates comes with the next update.
SHIFTS: Final = {32: 0, 16: 10, 8: 16}
RUN_OPTIONS: Final = frozenset({"runs", "run_dir", "adversary", "budget"})  # nothing to a deployment
ENGINES: Final = {"full": "resource", "partial": "stake", "hybrid": "stake"}  # by mode


def _count(default: int, description: str, minimum: int = 1, maximum: int | None = None) -> Any:
    return Field(default, ge=minimum, le=maximum, description=description)


def _seconds(default: int, description: str, minimum: int = 1) -> Any:
    return Field(default, ge=minimum, le=MAX_PHASE_SECONDS, description=f"seconds {description}")


def _share(default: float, description: str, below: float | None = None) -> Any:
    return Field(default, ge=0, le=1 if below is None else None, lt=below, description=description)


class _Checked(BaseModel):
    """A frozen set of values whose every refusal is a ConfigError of one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain(type(self), error, {})) from error

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object, info: ValidationInfo) -> object:
        """Take the word `none` for "the default decides", and no truth value for a number."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, str) and value.strip().lower() == "none" and field.default is None:
            return None
        if isinstance(value, bool) and not isinstance(field.default, bool):
            raise ValueError("must not be true or false")
        return value


class Options(_Checked):
    """The options of a run, each checked by itself, and what follows from them.

    Options whose default is None follow from the task or from other options.
    """

    devices: int = _count(20, "devices that train", maximum=MAX_UPDATES)
    miners: int = _count(5, "miners that verify, vote and lead", maximum=MAX_MINERS)
    rounds: int = _count(10, "rounds to run", maximum=1_000_000)
    seed: int = _count(0, "every random choice follows from it", minimum=0, maximum=2**63 - 1)

    task: str = Field(
        default="digits", min_length=1, description="a task's name, or package.module:attribute"
    )
    data: Path | None = Field(default=None, description="folder that holds the task's data set")
    flower: Path | None = Field(default=None, description="folder of a Flower app, in place of a task")
    run_config: str | None = Field(
        default=None, min_length=1, description="flower: what to change in its run config, 'key=value ...'"
    )
    node_config: str | None = Field(
        default=None, min_length=1, description="flower: the node config of its parties, 'key=value ...'"
    )
    flower_seconds: float = Field(
        default=3600, gt=0, le=1e6, description="flower: seconds that a call of the app may take"
    )
    model: str | None = Field(
        default=None, min_length=1, description="the model to train; none: the task's own"
    )
    weights: Path | None = Field(
        default=None, description="safetensors file of weights to start from; none: the task builds them"
    )
    epochs: int | None = Field(
        default=None, ge=1, le=10_000, description="local epochs a round; none: the task's own"
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=2**20, description="samples a step; none: the task's own"
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=1000, description="SGD's rate; none: the task's own"
    )
    partition: Literal["iid", "dirichlet", "pathological"] = Field(
        default="dirichlet", description="how the samples are dealt to the devices"
    )
    alpha: float = Field(default=0.5, gt=0, le=1e6, description="dirichlet: small is skewed, large is even")
    classes_per_device: int = _count(2, "pathological: classes that a device sees", maximum=1_000_000)

    scale_bits: int = _count(24, "fractional bits of the global model", maximum=30)
    lane_bits: Lane = Field(default=16, description="bits of one coordinate of an update")
    shift: int | None = Field(
        default=None, ge=0, le=30, description="fractional bits an update leaves out; none: by lane"
    )
    leaf_lanes: int | None = Field(
        default=None,
        ge=1,
        le=MAX_LEAF_LANES,
        description="coordinates in one Merkle leaf; none: 32, above 2 million parameters up to 128",
    )

    rule: Literal["mean", "median", "trimmed_mean"] = Field(
        default="mean", description="how updates are aggregated"
    )
    trim: float = _share(0.1, "share that trimmed_mean cuts from each end", below=0.5)
    mode: Literal["full", "partial", "hybrid"] = Field(
        default="partial",
        description="full: every device is a miner; partial: miners decide; hybrid: they vote for the engine",
    )
    engine: Literal["stake", "pow", "resource", "committee"] | None = Field(
        default=None,
        description="what decides who leads; none: resource in full, stake in partial and hybrid",
    )
    committee_size: int = _count(
        5,
        "committee: members, or all where there are fewer; 1: a single trusted miner a round",
        maximum=MAX_MINERS,
    )
    wish: Wishes = Field(
        default=(), description="hybrid: from round ROUND on the miners vote for ENGINE; may be repeated"
    )
    pow_seconds: int = _seconds(5, "that a proof-of-work race should take")
    min_updates: int | None = Field(
        default=None, ge=1, description="fewer accepted void the round; none: half the devices"
    )
    max_samples: int | None = Field(
        default=None,
        ge=1,
        lt=2**31,
        description="most training samples a device may claim; none: the largest share",
    )

    privacy: Literal["public", "confidential"] = Field(
        default="public", description="who can read updates: everybody, or the miners that vote on them"
    )
    model_access: Literal["public", "members"] = Field(
        default="public", description="who can read the models after the first: everybody, or the members"
    )

    dp: Noised = Field(
        default=None,
        description="noise that hides a sample, or all of a device: noise=X,clip=Y[,level=participant]"
        "[,delta=1e-6]; none: no noise",
    )
    budget: Budgeted = Field(
        default=None,
        description="what updates of a device may tell before it sits out: epsilon=X[,delta=1e-6]; none: all",
    )

    check_time: bool = Field(
        default=True, description="reject a computation time out of proportion to the samples"
    )
    time_factor: float = Field(
        default=5.0, ge=1, le=1e6, description="tolerated ratio to the reference seconds a sample"
    )
    time_slack: float = Field(
        default=0.02, ge=0, le=3600, description="seconds that never count as a difference"
    )
    rate_factor: float = Field(
        default=2.0, ge=1, le=1e5, description="a claimed pace counts up to so many medians (resource)"
    )
    check_duplicate: bool = Field(
        default=True, description="reject a copy of an earlier update, exact or disguised"
    )
    check_quality: bool = Field(
        default=True,
        description="judge by a miner's held-out data: find levels; of few updates, reject harm and marks",
    )
    check_norm: bool = Field(
        default=True, description="devices shorten what is much longer than usual; reject what is not"
    )
    check_clusters: bool = Field(
        default=True, description="reject a group that stands apart and is not the honest one"
    )
    check_direction: bool = Field(
        default=True, description="reject what points away from the mean of the others"
    )
    direction_tolerance: float = Field(
        default=3.0, ge=0, le=1e6, description="tolerated turn, in robust standard deviations"
    )
    check_min_norm: bool = Field(
        default=True, description="reject what is too short for the samples that it claims"
    )
    krum: int | None = Field(
        default=None,
        ge=0,
        le=MAX_UPDATES,
        description="Multi-Krum's f, attackers expected; none: no Multi-Krum",
    )

    adversary: Specs = Field(
        default=(),
        description="NAME:SHARE of the devices or miners that misbehave, perhaps :KEY=VALUE,...; "
        "`bcfl adversaries` lists them",
    )

    commit_seconds: int = _seconds(60, "to train and to commit")
    reveal_seconds: int = _seconds(30, "to reveal updates")
    vote_seconds: int = _seconds(30, "to verify and to commit verdicts")
    unveil_seconds: int = _seconds(30, "to unveil verdicts")
    tally_seconds: int = _seconds(30, "to count the votes")
    elect_seconds: int = _seconds(120, "to win a race; it is over with its winner")
    propose_seconds: int = _seconds(30, "a leader has to propose")
    attest_seconds: int = _seconds(60, "to attest")
    challenge_seconds: int | None = Field(
        default=None,
        ge=0,
        le=MAX_PHASE_SECONDS,
        description="seconds in which a proposal stays open to challenges; none: twice propose_seconds; "
        "0: no challenges at all, who attests a wrong model risks nothing",
    )
    answer_seconds: int | None = Field(
        default=None,
        ge=1,
        le=MAX_PHASE_SECONDS,
        description="seconds to answer in a dispute; none: as many as challenge_seconds",
    )
    grace: int | None = Field(
        default=None,
        ge=0,
        le=MAX_PHASE_SECONDS,
        description="seconds a phase stays open for devices after all miners have acted; none: 5, or half "
        "of commit_seconds",
    )

    stake: Wei = Field(default=15 * 10**17, description="what each miner stakes")
    min_stake: Wei = Field(default=10**18, gt=0, description="stake that carries one vote")
    exit_rounds: int = _count(2, "rounds before a miner that left gets its stake back", 1, 65_535)
    exit_seconds: int | None = Field(
        default=None,
        ge=1,
        lt=2**31,
        description="seconds after which it gets it back in any case; none: a day, or the longest round",
    )
    vote_penalty: Wei = Field(
        default=10**17, description="for verdicts committed and never unveiled, for each minimum stake"
    )
    absence_penalty: float = Field(
        default=0.01, ge=0.005, le=0.05, description="share of its stake that a miner pays for a missed round"
    )
    absence_seconds: int | None = Field(
        default=None,
        ge=1,
        lt=2**29,
        description="seconds of missed rounds until a miner is suspended, and so long an honest majority "
        "may be down; none: six hours, or three of the longest rounds",
    )
    attest_slash: float = Field(
        default=0.25, ge=0.1, le=1, description="share of its stake that an attester of a wrong model loses"
    )
    min_blocks: int = _count(
        0, "blocks that a phase lasts at least, where a chain may stand still: 3 with blocks of 12 s", 0, 64
    )
    leader_penalty: Wei = Field(default=2 * 10**17, description="for a leader that misses its deadline")
    reward: Wei = Field(default=10**18, description="paid out of the pool each round")
    device_share: float = _share(0.5, "of the reward, by accepted samples")
    miner_share: float = _share(0.3, "of the reward, by matching verdicts; the leader gets the rest")
    pool: Wei | None = Field(
        default=None, description="what the owner funds; none: the rewards of all rounds"
    )

    runs: Path = Field(default=Path("runs"), description="folder that holds the runs")
    run_dir: Path | None = Field(default=None, description="this run's own folder; none: a new one in runs")

    @property
    def subject(self) -> str:
        """Return the name of what is learned: that of the task, or of a Flower app's folder."""
        return self.task if self.flower is None else self.flower.resolve().name

    @property
    def agreement(self) -> tuple[tuple[str, str], ...]:
        """Return what a new federation agrees on beside its task, name and value, sorted by name."""
        return privacy.agreement(self.privacy == "confidential", self.model_access == "members")

    @property
    def noise(self) -> noise.Noise | None:
        """Return the noise that hides what devices learn from, without the steps of a training."""
        return None if self.dp is None else noise.of_options(self.dp)

    @property
    def first_engine(self) -> str:
        """Return what decides who leads round 1: `engine`, or what suits the mode."""
        return self.engine or ENGINES[self.mode]

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """Return what the miners vote for in `hybrid`, in the order of rounds."""
        return wishes.parse_all(self.wish)

    @property
    def participants(self) -> int:
        """Return how many accounts take part: in `full` every device and its miner are one."""
        return self.devices if self.mode == "full" else self.devices + self.miners

    @property
    def checks(self) -> dict[str, Any]:
        """Return the options of a miner's checks, by their names in `bcfl.roles.checks.pipeline.Checks`."""
        switches = [name for name in type(self).model_fields if name.startswith("check_")]
        numbers = ("direction_tolerance", "krum")
        return {name.removeprefix("check_"): getattr(self, name) for name in switches} | {
            name: getattr(self, name) for name in numbers
        }

    @property
    def lane_shift(self) -> int:
        """Return the fractional bits that an update leaves out: `shift`, or what suits the lane's width."""
        return SHIFTS[self.lane_bits] if self.shift is None else self.shift

    @property
    def required_updates(self) -> int:
        """Return the accepted updates without which a round is void: `min_updates`, or half the devices."""
        return (self.devices + 1) // 2 if self.min_updates is None else self.min_updates

    @property
    def window(self) -> int:
        """Return the seconds in which a proposal stays open to challenges; 0: there are none."""
        return max(4, 2 * self.propose_seconds) if self.challenge_seconds is None else self.challenge_seconds

    @property
    def answer_time(self) -> int:
        """Return the seconds to answer in a dispute."""
        return max(self.window, self.propose_seconds) if self.answer_seconds is None else self.answer_seconds

    @property
    def grace_time(self) -> int:
        """Return the seconds that a phase stays open for devices after all miners have acted."""
        return min(5, self.commit_seconds // 2) if self.grace is None else self.grace

    @property
    def funding(self) -> int:
        """Return the wei that the owner puts into the pool: `pool`, or the rewards of all rounds."""
        return self.reward * self.rounds if self.pool is None else self.pool

    @property
    def adversaries(self) -> tuple[catalog.AttackSpec, ...]:
        """Return who misbehaves, and how."""
        return tuple(catalog.parse(text) for text in self.adversary)

    def recorded_options(self) -> dict[str, Any]:
        """Return the options that the record of a deployment holds, as JSON; no file of its owner."""
        kept = self.model_dump(mode="json", exclude={*RUN_OPTIONS, "data", "node_config", "weights"})
        return kept | ({} if self.flower is None else {"flower": self.subject})

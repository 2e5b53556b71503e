"""Every option of a run (step 1, initialization): what it means, what it may be, where its value came from.

A value comes from the strongest source that names it: a flag, `-c key=value`, the file `bcfl.toml`,
the variable `BCFL_KEY`, the default.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bcfl.adversaries import catalog
from bcfl.config.sources import Given, explain, from_environment, from_file, from_flags, from_pairs, unknown
from bcfl.config.values import Lane, Specs, Wei, Wishes, digits
from bcfl.errors import ConfigError
from bcfl.protocol import wishes
from bcfl.protocol.limits import (
    BASIS_POINTS,
    MAX_BATCH,
    MAX_LEAF_LANES,
    MAX_MINERS,
    MAX_PHASE_SECONDS,
    MAX_SHOWN,
    MAX_UPDATES,
    WEI_BITS,
)
from bcfl.protocol.wishes import Wish

# At scale_bits = 24, 16-bit lanes reach +-2 and 8-bit lanes +-1/2; what saturates comes with the next update.
SHIFTS: Final = {32: 0, 16: 10, 8: 16}
RUN_OPTIONS: Final = frozenset({"runs", "run_dir", "adversary"})  # that mean nothing to a deployment
ENGINES: Final = {"full": "resource", "partial": "committee", "hybrid": "stake"}  # by mode


def _count(default: int, description: str, least: int = 1, most: int | None = None) -> Any:
    return Field(default, ge=least, le=most, description=description)


def _seconds(default: int, description: str, least: int = 1) -> Any:
    return Field(default, ge=least, le=MAX_PHASE_SECONDS, description=f"seconds {description}")


def _share(default: float, description: str, below: float | None = None) -> Any:
    return Field(default, ge=0, le=1 if below is None else None, lt=below, description=description)


class _Checked(BaseModel):
    """A frozen set of values whose every refusal is a ConfigError of one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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


class Config(_Checked):
    """What a run is made of; frozen, checked, the same from Python as from the command line.

    Raises ConfigError when a value, or two together, cannot be used. Options whose default is None
    follow from the task or from other options.
    """

    devices: int = _count(20, "devices that train", most=MAX_UPDATES)
    miners: int = _count(5, "miners that verify, vote and lead", most=MAX_MINERS)
    rounds: int = _count(10, "rounds to run", most=1_000_000)
    seed: int = _count(0, "every random choice follows from it", least=0, most=2**63 - 1)

    task: str = Field(
        default="digits", min_length=1, description="a task's name, or package.module:attribute"
    )
    data: Path | None = Field(default=None, description="folder that holds the task's data set")
    model: str | None = Field(
        default=None, min_length=1, description="the model to train; none: the task's own"
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
    classes_per_device: int = _count(2, "pathological: classes that a device sees", most=1_000_000)

    scale_bits: int = _count(24, "fractional bits of the global model", most=30)
    lane_bits: Lane = Field(default=16, description="bits of one coordinate of an update")
    shift: int | None = Field(
        default=None, ge=0, le=30, description="fractional bits an update leaves out; none: by lane"
    )
    leaf_lanes: int = _count(32, "coordinates in one Merkle leaf", most=MAX_LEAF_LANES)

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
        description="what decides who leads; none: resource in full, committee in partial, stake in hybrid",
    )
    committee_size: int = _count(
        5, "committee: members drawn for a round; where there are fewer miners, all", most=MAX_MINERS
    )
    wish: Wishes = Field(
        default=(), description="hybrid: from round ROUND on the miners vote for ENGINE; may be repeated"
    )
    pow_seconds: int = _seconds(5, "that a proof-of-work race should take")
    min_updates: int | None = Field(
        default=None, ge=1, description="fewer accepted void the round; none: half the devices"
    )
    max_samples: int | None = Field(
        default=None, ge=1, lt=2**31, description="most samples a device may claim; none: all"
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
    check_duplicate: bool = Field(
        default=True, description="reject a copy of an earlier update, exact or disguised"
    )
    check_quality: bool = Field(
        default=True, description="reject what harms the model on a miner's held-out data"
    )
    quality_tolerance: float = Field(
        default=3.0, ge=0, le=1e6, description="tolerated harm, in robust standard deviations"
    )
    check_norm: bool = Field(
        default=True, description="devices shorten what is longer than twice the usual; reject what is not"
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
    elect_seconds: int = _seconds(120, "to win a race; it is over with its winner")
    propose_seconds: int = _seconds(30, "a leader has to propose")
    attest_seconds: int = _seconds(30, "to attest")
    challenge_seconds: int = _seconds(0, "in which a proposal stays open to challenges", least=0)
    grace: int = _seconds(5, "a phase stays open for devices after all miners have acted", least=0)

    stake: Wei = Field(default=15 * 10**17, description="what each miner stakes")
    min_stake: Wei = Field(default=10**18, gt=0, description="stake that carries one vote")
    exit_rounds: int = _count(2, "finished rounds before a miner that left gets its stake back", 0, 1_000_000)
    vote_penalty: Wei = Field(default=10**17, description="for verdicts committed and never unveiled")
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
    def first_engine(self) -> str:
        """What decides who leads round 1: `engine`, or what suits the mode."""
        return self.engine or ENGINES[self.mode]

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """What the miners vote for in `hybrid`, in the order of rounds."""
        return wishes.parse_all(self.wish)

    @property
    def participants(self) -> int:
        """The accounts that take part: in `full` every device and its miner are one."""
        return self.devices if self.mode == "full" else self.devices + self.miners

    @property
    def checks(self) -> dict[str, Any]:
        """The options of a miner's checks, by their names in `bcfl.roles.checks.pipeline.Checks`."""
        switches = [name for name in type(self).model_fields if name.startswith("check_")]
        numbers = ("quality_tolerance", "direction_tolerance", "krum")
        return {name.removeprefix("check_"): getattr(self, name) for name in switches} | {
            name: getattr(self, name) for name in numbers
        }

    @property
    def lane_shift(self) -> int:
        """Fractional bits that an update leaves out: `shift`, or what suits the lane's width."""
        return SHIFTS[self.lane_bits] if self.shift is None else self.shift

    @property
    def required_updates(self) -> int:
        """Accepted updates without which a round is void: `min_updates`, or half the devices."""
        return (self.devices + 1) // 2 if self.min_updates is None else self.min_updates

    @property
    def funding(self) -> int:
        """Wei that the owner puts into the pool: `pool`, or the rewards of all rounds."""
        return self.reward * self.rounds if self.pool is None else self.pool

    def recorded_options(self) -> dict[str, Any]:
        """Return the options that the record of a deployment holds, as JSON has them."""
        return self.model_dump(mode="json", exclude=set(RUN_OPTIONS))

    @model_validator(mode="before")
    @classmethod
    def _everybody(cls, values: Any) -> Any:
        """In `full` there are as many miners as devices, unless somebody says otherwise and is refused."""
        if not isinstance(values, dict) or values.get("mode") != "full" or values.get("miners") is not None:
            return values
        devices = values.get("devices", cls.model_fields["devices"].default)
        most = min(devices, MAX_MINERS) if isinstance(devices := digits(devices), int) else devices
        return {**values, "miners": most}

    @property
    def adversaries(self) -> tuple[catalog.AttackSpec, ...]:
        """Who misbehaves, and how."""
        return tuple(catalog.parse(text) for text in self.adversary)

    @model_validator(mode="after")
    def _together(self) -> Self:
        for conflict in _conflicts(self):
            raise ValueError(conflict)
        return self

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object] | None = None,
        pairs: Sequence[str] = (),
        toml: Path | None = None,
        env: Mapping[str, str] | None = None,
        defaults: Mapping[str, object] | None = None,
    ) -> Self:
        """The options of all sources together, the strongest first.

        `flags`: option to value, None where not given. `pairs`: `key=value`. `toml`: None takes
        `bcfl.toml` where there is one. `env`: None takes the process's own. `defaults`: what a command
        has in the place of an option's own default. Raises ConfigError that names the key and the source.
        """
        given: dict[str, Given] = {}
        for option in (
            *from_environment(os.environ if env is None else env),
            *from_file(toml),
            *from_pairs(pairs),
            *from_flags(flags or {}),
        ):
            name = option.name if option.name in cls.model_fields else option.name.replace("-", "_")
            if name not in cls.model_fields:
                raise ConfigError(unknown(cls, option.name, option.source))
            given[name] = option
        for name, value in (defaults or {}).items():
            if name != "miners" or "mode" not in given or given["mode"].value != "full":
                given.setdefault(name, Given(name, value, "the command's default"))
        try:
            return cls.model_validate({name: option.value for name, option in given.items()})
        except ConfigError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            sources = {name: option.source for name, option in given.items()}
            raise ConfigError(explain(cls, error.__cause__, sources)) from None


def _conflicts(c: Config) -> Iterator[str]:
    """Every set of options that cannot stand together, each as `key=value` with what to do about it."""
    engines = {wish.engine.name.lower() for wish in c.wishes}
    if c.leaf_lanes * c.lane_bits % 256:
        words = f"leaf_lanes={c.leaf_lanes} with lane_bits={c.lane_bits} is no whole number of 32-byte words"
        yield f"{words}: take a multiple of {256 // c.lane_bits} for leaf_lanes"
    shown = c.devices * (c.leaf_lanes * c.lane_bits // 8 + 4) + 8 * c.leaf_lanes
    if shown > MAX_SHOWN:
        words = f"leaf_lanes={c.leaf_lanes} with devices={c.devices} makes a challenge of {shown} bytes"
        yield f"{words}, more than {MAX_SHOWN}: lower leaf_lanes"
    if c.lane_bits + c.lane_shift > 32:
        yield f"shift={c.lane_shift} with lane_bits={c.lane_bits} is wider than 32 bits: lower shift"
    if c.lane_shift > c.scale_bits:
        yield f"shift={c.lane_shift} is more than scale_bits={c.scale_bits}: lower shift or raise scale_bits"
    if c.required_updates > c.devices:
        yield f"min_updates={c.min_updates} voids every round of devices={c.devices}: lower min_updates"
    if c.mode == "full" and c.devices > MAX_MINERS:
        words = f"devices={c.devices} with mode={c.mode} are as many miners"
        yield f"{words}, and a federation holds {MAX_MINERS}: take fewer devices, or another mode"
    if c.mode == "full" and c.miners != c.devices:
        words = f"miners={c.miners} with mode={c.mode} is not devices={c.devices}"
        yield f"{words}: every device is a miner there, leave miners out"
    if c.wish and c.mode != "hybrid":
        yield f"wishes ({', '.join(c.wish)}) mean nothing with mode={c.mode}: take mode=hybrid"
    if c.devices > MAX_BATCH * c.miners:
        words = f"devices={c.devices} are more than miners={c.miners} can serve"
        yield f"{words}: a batch holds {MAX_BATCH}, take at least {-(-c.devices // MAX_BATCH)} miners"
    if "pow" in (c.first_engine, *engines) and c.pow_seconds > c.elect_seconds:
        yield f"pow_seconds={c.pow_seconds} is more than elect_seconds={c.elect_seconds}: raise elect_seconds"
    if c.stake < c.min_stake:
        yield f"stake={c.stake} is less than min_stake={c.min_stake} and carries no vote: raise stake"
    for name, penalty in (("vote_penalty", c.vote_penalty), ("leader_penalty", c.leader_penalty)):
        if penalty > c.min_stake:
            yield f"{name}={penalty} is more than min_stake={c.min_stake} covers: lower {name}"
    if round(c.device_share * BASIS_POINTS) + round(c.miner_share * BASIS_POINTS) > BASIS_POINTS:
        yield f"device_share={c.device_share} and miner_share={c.miner_share} are more than 1: lower one"
    try:
        catalog.check_counts(c.adversaries, c.devices, c.miners)
    except ConfigError as error:
        yield str(error)
    if c.funding >= 2**WEI_BITS:
        yield f"rounds={c.rounds} of reward={c.reward} are 2**{WEI_BITS} wei or more: lower reward"

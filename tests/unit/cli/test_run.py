"""`bcfl run` without a federation behind it: options in, progress and summary out, early ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bcfl import federation
from bcfl.adversaries import catalog
from bcfl.config import Config
from bcfl.errors import DataError, StoreError
from bcfl.federation.reports import Adversary, Progress, Rejection, Report, RoundReport
from bcfl.federation.runs import Run
from tests.unit.cli.conftest import Bcfl

LEADER = "0x" + "aB" * 20
CONTRACT = "0x" + "cD" * 20
DEVICES = tuple("0x" + f"{i:02x}" * 20 for i in range(1, 5))


def round_report(number: int, **changes: object) -> RoundReport:
    fields = {
        "round": number, "status": "finalized", "reason": None, "engine": "stake", "committee": (),
        "leader": LEADER, "accepted": DEVICES[:2],
        "rejected": (Rejection(DEVICES[2], "time"), Rejection(DEVICES[3], "quality")),
        "global_root": "0x" + "11" * 32, "global_cid": "bafkrei", "block_hash": "0x" + "22" * 32,
        "accuracy": 0.9594, "loss": 0.1234, "gas": 1_234_567, "metrics": {"accuracy": 0.9594},
    }  # fmt: skip
    return RoundReport(**fields | changes)  # type: ignore[arg-type]


VOID = {
    "status": "void",
    "reason": "few_accepted",
    "leader": None,
    "accepted": (),
    "rejected": (),
    "block_hash": None,
}


@dataclass
class Stage:
    """Stands in for the simulation: records its arguments, and plays two rounds or raises an error."""

    configs: list[Config] = field(default_factory=list)
    resumed: list[Path] = field(default_factory=list)
    error: BaseException | None = None
    deployed: bool = True
    reports: tuple[RoundReport, ...] = (round_report(1), round_report(2, **VOID))

    def run(self, config: Config, *, on_progress: Callable[[Progress], None], **_: Any) -> Report:
        self.configs.append(config)
        if self.deployed:
            with Run.create(config) as run:
                run.set_contract(CONTRACT)
        return self.play(config, on_progress)

    def resume(self, path: Path, *, on_progress: Callable[[Progress], None], **_: Any) -> Report:
        self.resumed.append(path)
        return self.play(Run.open(path, read_only=True).config, on_progress)

    def play(self, config: Config, on_progress: Callable[[Progress], None]) -> Report:
        for report in self.reports:
            if self.error:
                raise self.error
            on_progress(Progress(report.round, 2, "vote", DEVICES))
            on_progress(Progress(report.round, 2, report.status, (), report))
        return Report(
            str(config.run_dir), CONTRACT, self.reports, 0.9594, 43_105.4, 12.34, initial_root="0x00",
            final_metrics=self.reports[-1].metrics, final_loss=0.1234,
        )  # fmt: skip


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(federation, "simulation", stage, raising=False)
    return stage


def test_default_behavior(bcfl: Bcfl, stage: Stage) -> None:
    answer = bcfl("run")
    assert answer.code == 0
    (config,) = stage.configs
    assert config.model_dump(exclude={"run_dir"}) == Config().model_dump(exclude={"run_dir"})
    assert config.run_dir is not None
    assert config.run_dir.parent == Path("runs")
    head, columns, first, second = answer.err.splitlines()
    assert head == f"digits · 20 devices · 5 miners · 10 rounds · led by stake · {config.run_dir}"
    assert columns.split() == [
        "round",
        "accuracy",
        "loss",
        "accepted",
        "gas",
        "seconds",
        "leader",
        "rejected",
    ]
    assert first.split()[:5] == ["1", "95.94%", "0.1234", "2/4", "1,234,567"]
    assert first.endswith(f"{LEADER}  1 quality, 1 time")
    assert second.split()[3] == "0/0"
    assert second.endswith("void: few accepted")
    assert columns.index("leader") == first.index(LEADER)
    words = " ".join(answer.out.split())
    gas = "gas 43,105 a round and participant (20 devices + 5 miners)"
    for part in (
        "accuracy 95.94%",
        "rounds 2, 1 of them void",
        gas,
        f"contract {CONTRACT}",
        "`bcfl round 2`",
    ):
        assert part in words


def test_a_run_in_which_nothing_is_learned_says_so(bcfl: Bcfl, stage: Stage) -> None:
    stage.reports = (round_report(1, **VOID),)
    answer = bcfl("run", "--quiet")
    assert (answer.code, "warning: nothing was learned" in answer.err) == (3, True)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_run_whose_last_loss_is_no_number_says_so(bcfl: Bcfl, stage: Stage, options: list[str]) -> None:
    stage.reports = (round_report(1), round_report(2, loss=float("inf")))
    answer = bcfl("run", "--quiet", *options)
    assert (answer.code, "warning: the model is of no use: its loss" in answer.err) == (3, True)


def test_json_is_one_object(bcfl: Bcfl, stage: Stage) -> None:
    answer = bcfl("run", "--json")
    report = json.loads(answer.out)
    assert stage.configs
    assert list(report)[:-2] == [  # and `fit_warning`, `pay_warning`
        "run_dir", "contract", "rounds", "final_accuracy", "gas_per_participant", "seconds", "initial_root",
        "final_metrics", "final_loss", "earlier_rounds", "unpaid_rounds", "losses", "warning",
    ]  # fmt: skip
    first, second = report["rounds"]
    assert {
        "round", "status", "engine", "committee", "leader", "accepted", "rejected", "global_root",
        "global_cid", "block_hash", "accuracy", "loss", "gas",
    } <= set(first)  # fmt: skip
    assert first["rejected"] == [
        {"device": DEVICES[2], "reason": "time", "samples": 0},
        {"device": DEVICES[3], "reason": "quality", "samples": 0},
    ]
    assert first["accepted"] == list(DEVICES[:2])
    assert (second["status"], second["block_hash"], second["leader"]) == ("void", None, None)
    assert answer.err.count("\n") == 4


def test_quiet(bcfl: Bcfl, stage: Stage) -> None:
    assert stage is not None
    assert bcfl("run", "--quiet").text
    assert bcfl("run", "-q", "--json").json["contract"] == CONTRACT


def test_every_option_is_a_flag(bcfl: Bcfl) -> None:
    text = bcfl("run", "--help").out
    assert [name for name in Config.model_fields if f"--{name.replace('_', '-')}" not in text] == []


def test_flags_reach_the_run(bcfl: Bcfl, stage: Stage) -> None:
    flags = ["--devices", 7, "--lane-bits", 8, "--alpha", 0.25, "--no-check-time", "--check-quality"]
    values = [
        "--stake",
        "2 ether",
        "--partition",
        "iid",
        "--run-dir",
        "here",
        "--epochs",
        "none",
        "--engine",
        "pow",
    ]
    assert bcfl("run", *flags, *values).code == 0
    (config,) = stage.configs
    assert (config.devices, config.lane_bits, config.alpha) == (7, 8, 0.25)
    assert (config.check_time, config.check_quality, config.check_duplicate) == (False, True, True)
    assert (config.stake, config.partition, config.run_dir) == (2 * 10**18, "iid", Path("here"))
    assert (config.epochs, config.engine) == (None, "pow")


def test_wishes_are_given_one_by_one_or_together(bcfl: Bcfl, stage: Stage) -> None:
    for flags in (["--wish", "6:stake", "--wish", "3:pow"], ["--wish", "3:pow,6:stake"]):
        assert bcfl("run", "--mode", "hybrid", *flags).code == 0
    assert [config.wish for config in stage.configs] == [("3:pow", "6:stake")] * 2


def test_in_full_everybody_is_a_miner(bcfl: Bcfl, stage: Stage) -> None:
    answer = bcfl("run", "--mode", "full", "--devices", 7)
    assert [config.miners for config in stage.configs] == [7]
    assert "digits · 7 devices that are all miners · 10 rounds · led by resource (full)" in answer.err
    assert "(7 devices that are all miners)" in answer.out


def test_the_strongest_source_counts(bcfl: Bcfl, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCFL_ROUNDS", "2")
    monkeypatch.setenv("BCFL_MINERS", "2")
    monkeypatch.setenv("BCFL_SEED", "2")
    Path("bcfl.toml").write_text("miners = 3\nseed = 3\nepochs = 3\n")
    Path("mine.toml").write_text("epochs = 4\n")
    bcfl("run", "-c", "seed=4", "-c", "alpha=4", "--alpha", "5")
    bcfl("run", "--config", "mine.toml")
    first, second = stage.configs
    assert (first.rounds, first.miners, first.seed, first.alpha, first.epochs) == (2, 3, 4, 5, 3)
    assert (second.miners, second.epochs) == (2, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--devices", 0), "devices=0 (--devices) must be at least 1"),
        (("--devices", -4), "devices=-4 (--devices) must be at least 1"),
        (("--rounds", "many"), "rounds=many (--rounds) must be a whole number"),
        (("--miners", 65), "must be at most 64"),
        (("--alpha", "nan"), "alpha"),
        (("--engine", "luck"), "must be one of"),
        (("--mode", "total"), "must be one of 'full', 'partial' or 'hybrid'"),
        (("--mode", "full", "--miners", 3), "miners=3 (--miners) with mode=full (--mode)"),
        (("--mode", "hybrid", "--wish", "3"), "wish=3 (--wish) must be ROUND:ENGINE"),
        (("--wish", "3:pow"), "take mode=hybrid"),
        (("--committee-size", 0), "committee_size=0 (--committee-size) must be at least 1"),
        (("--stake", "1.5"), "must be a whole number of wei"),
        (("--stake", "much"), "must be an amount"),
        (("--min-updates", 30), "lower min_updates"),
        (("--krum", 9), "krum=9 (--krum) needs devices=21 or more"),
        (("-c", "devics=3"), "the nearest is devices"),
        (("-c", "devices"), "is not key=value"),
        (("--config", "nowhere.toml"), "cannot be read"),
        (("--resume", "--devices", 3), "--devices cannot be given with --resume"),
        (("--resume", "--no-check-time"), "--check-time cannot be given with --resume"),
        (("--resume", "-c", "rounds=3"), "-c cannot be given with --resume"),
        (("--resume", "--config", "x"), "--config cannot be given with --resume"),
        (("--resume",), "there is no run in runs yet"),
        (("--resume", "nowhere"), "nowhere is not the directory of a run"),
    ],
)
def test_what_cannot_be_run(bcfl: Bcfl, stage: Stage, arguments: tuple[object, ...], words: str) -> None:
    assert words in bcfl("run", *arguments).refusal
    assert stage.configs == []
    assert not Path("runs").exists()


def test_resume(bcfl: Bcfl, stage: Stage) -> None:
    bcfl("run", "--run-dir", "runs/first")
    bcfl("run", "--run-dir", "runs/second")
    assert bcfl("run", "--resume").code == 0
    assert bcfl("run", "--resume", "first").code == 0
    assert bcfl("run", "--resume", "runs/first", "--rounds", 30, "--json").code == 0
    assert stage.resumed == [Path("runs/second"), Path("runs/first"), Path("runs/first")]
    assert Run.open(Path("runs/first"), read_only=True).config.rounds == 30
    assert "rounds=0" in bcfl("run", "--resume", "first", "--rounds", 0).refusal


def test_a_run_that_is_busy(bcfl: Bcfl, stage: Stage) -> None:
    bcfl("run", "--run-dir", "mine")
    with Run.open(Path("mine")):
        assert "mine is busy" in bcfl("run", "--resume", "mine", "--rounds", 4).refusal
    assert stage.resumed == []


def test_an_interrupt_says_how_to_go_on(bcfl: Bcfl, stage: Stage) -> None:
    stage.error = KeyboardInterrupt()
    answer = bcfl("run", "--run-dir", "mine")
    assert answer.code == 130
    assert answer.out == ""
    assert answer.err == "interrupted: go on with `bcfl run --resume mine`\n"
    assert bcfl("run", "--resume", "mine", "-q").err.endswith("go on with `bcfl run --resume mine`\n")


def test_an_interrupt_before_anything_was_recorded(bcfl: Bcfl, stage: Stage) -> None:
    stage.error, stage.deployed = KeyboardInterrupt(), False
    answer = bcfl("run", "--run-dir", "mine")
    assert (answer.code, answer.err.count("\n")) == (130, 1)
    assert "nothing was recorded yet" in answer.err


@pytest.mark.parametrize(
    "error", [StoreError("the store is full"), OSError(28, "the store is full")], ids=["ours", "the system's"]
)
def test_an_error_on_the_way_says_how_to_go_on(bcfl: Bcfl, stage: Stage, error: Exception) -> None:
    stage.error = error
    assert (
        bcfl("run", "--run-dir", "mine").refusal == "the store is full; go on with `bcfl run --resume mine`"
    )


def test_an_error_at_the_start_is_the_only_line(bcfl: Bcfl, stage: Stage) -> None:
    stage.error, stage.deployed = DataError("no data"), False
    assert bcfl("run").refusal == "no data"


def test_the_commands_to_try_name_the_run_where_they_must(bcfl: Bcfl, stage: Stage) -> None:
    assert stage is not None
    assert "`bcfl round 2 --run apart`" in bcfl("run", "--run-dir", "apart").out


def test_adversaries_reach_the_run(bcfl: Bcfl, stage: Stage) -> None:
    assert bcfl("run", "--adversary", "alie:0.3:z=1.0", "--adversary", "lazy-miner:0.4").code == 0
    Path("bcfl.toml").write_text('adversary = ["ipm:0.1"]\n')
    assert bcfl("run").code == 0
    first, second = stage.configs
    assert first.adversary == ("alie:0.3:z=1", "lazy-miner:0.4")
    assert second.adversary == ("ipm:0.1",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alei:0.3", "(--adversary) there is no adversary 'alei'; the nearest: alie"),
        ("alie:3", "the share 3 of alie must be above 0 and at most 1"),
        ("alie:0.3:q=1", "alie has no parameter 'q'; it has knowledge, spread, z"),
        ("alie:0.01", "alie:0.01 is not one of devices=20: raise the share"),
    ],
)
def test_adversaries_that_cannot_be_had(bcfl: Bcfl, stage: Stage, text: str, words: str) -> None:
    assert words in bcfl("run", "--adversary", text).refusal
    assert stage.configs == []


def test_the_summary_names_adversaries(bcfl: Bcfl, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    adversaries = tuple(Adversary(account, "device", "backdoor:0.1") for account in DEVICES[:2])
    fields: dict[str, Any] = {
        "adversaries": adversaries,
        "false_rejects": 3,
        "false_accepts": 1,
        "attack_success": 0.25,
    }
    play = stage.play
    monkeypatch.setattr(stage, "play", lambda *args: replace(play(*args), **fields))
    text = bcfl("run").out
    assert "2 devices backdoor:0.1" in text
    assert "3 updates of honest devices rejected, 1 of adversaries accepted" in text
    assert "attack success  25.00%" in text
    report = bcfl("run", "--json", "-q").json
    assert report["adversaries"][0] == {"account": DEVICES[0], "role": "device", "attack": "backdoor:0.1"}
    assert (report["false_rejects"], report["attack_success"]) == (3, 0.25)
    assert "false_rejects" not in report["rounds"][0]


def test_adversaries_are_listed(bcfl: Bcfl) -> None:
    text = bcfl("adversaries").text
    assert all(f"{name} (" in text for name in catalog.NAMES)
    (alie,) = bcfl("adversaries", "alie", "--json").json["adversaries"]
    assert (alie["name"], alie["of"]) == ("alie", "devices")
    assert [each["name"] for each in alie["parameters"]] == ["knowledge", "spread", "z"]
    assert "the nearest: alie" in bcfl("adversaries", "alei").refusal


RISKY = ("--engine", "committee", "--committee-size", 3, "--miners", 20)
WARNING = (
    "warning: committee_size=3: 6 of 20 miners (30% of the weight) would capture 1.8% of committees, "
    "more than one in a thousand; take committee_size=9, or engine=stake"
)


def test_a_run_says_how_often_a_committee_is_captured(bcfl: Bcfl, stage: Stage) -> None:
    assert stage is not None
    answer = bcfl("run", *RISKY)
    assert answer.err.splitlines()[0] == WARNING
    words = " ".join(answer.out.split())
    assert "committee 3 members captured 1.8% of committees by 6 of 20 miners (30% of the weight)" in words
    assert "in 10 rounds at least once 12%, 38% if it keeps openings back" in words
    view = json.loads(bcfl("run", *RISKY, "--json").out)["committee"]
    assert (view["committee_size"], view["risky"], view["safer_size"]) == (3, True, 9)
    assert [(case["coalition"], case["deciding"]) for case in view["cases"]] == [(6, 3)]


def test_a_committee_that_is_not_captured_has_no_warning(bcfl: Bcfl, stage: Stage) -> None:
    assert stage is not None
    answer = bcfl("run", "--engine", "committee", "--quiet")
    assert "never by 1 of 5 miners (20% of the weight): 4 of 5 members decide" in answer.text
    assert "captured" not in bcfl("run", "--quiet").text
    hybrid = bcfl("run", "--mode", "hybrid", "--quiet").text
    assert "captured if wished for, never by 1 of 5 miners" in hybrid


def test_a_run_says_whether_there_are_challenges(bcfl: Bcfl, stage: Stage) -> None:
    assert stage is not None
    words = "none: who attests a wrong model risks nothing"
    assert f"challenges {words}" in bcfl("run", "--quiet", "--challenge-seconds", 0).text
    assert bcfl("run", "--quiet", "--challenge-seconds", 0, "--json").json["challenges"] == words
    assert "challenges open for 60 s after each proposal" in bcfl("run", "--quiet").text


def test_a_committee_of_one_is_a_single_trusted_miner(bcfl: Bcfl, stage: Stage) -> None:
    assert stage is not None
    answer = bcfl("run", "--engine", "committee", "--committee-size", 1, "--quiet")
    assert "1 member: a single trusted miner a round, whoever is drawn decides alone" in answer.out
    assert "20% of committees by 1 of 5 miners" in answer.out
    assert "committee_size=1 is a single trusted miner a round" in answer.err

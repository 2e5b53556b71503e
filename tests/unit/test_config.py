"""What a run may be made of, and what is said when it may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.config import Config
from bcfl.config.sources import RENAMED
from bcfl.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a bcfl.toml, and no BCFL_* variable."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BCFL_")]:
        monkeypatch.delenv(name)
    return tmp_path


def refusal(**sources: object) -> str:
    """The one line that Config.load says to these sources."""
    with pytest.raises(ConfigError) as error:
        Config.load(**sources)  # type: ignore[arg-type]
    message = str(error.value)
    assert "\n" not in message
    return message


def test_default_behavior() -> None:
    config = Config.load()
    assert (config.devices, config.miners, config.rounds) == (20, 5, 10)
    assert (config.task, config.partition, config.alpha) == ("digits", "dirichlet", 0.5)
    assert config == Config()


def test_every_option_is_described() -> None:
    undescribed = [name for name, field in Config.model_fields.items() if not field.description]
    assert undescribed == []


def test_a_config_does_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        Config().devices = 3


def test_a_config_survives_json() -> None:
    config = Config(devices=7, data=Path("somewhere"), pool=2**90, learning_rate=0.1)
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("strongest", ["flag", "-c", "file", "variable", "default"])
def test_the_strongest_source_wins(folder: Path, strongest: str) -> None:
    order = ["default", "variable", "file", "-c", "flag"]
    level = order.index(strongest)
    if level >= 2:
        (folder / "bcfl.toml").write_text("devices = 32\n")
    config = Config.load(
        flags={"devices": 34 if level >= 4 else None},
        pairs=["devices=33"] if level >= 3 else [],
        env={"BCFL_DEVICES": "31"} if level >= 1 else {},
    )
    assert config.devices == [20, 31, 32, 33, 34][level]


def test_sources_add_up(folder: Path) -> None:
    file = folder / "mine.toml"
    file.write_text('rule = "median"\nreward = "2 gwei"\ncheck_time = false\n')
    config = Config.load({"seed": 4}, ["alpha=0.1", "batch-size=8"], file, {"BCFL_ROUNDS": "3", "HOME": "x"})
    assert (config.seed, config.alpha, config.batch_size, config.rounds) == (4, 0.1, 8, 3)
    assert (config.rule, config.reward, config.check_time) == ("median", 2 * 10**9, False)


@pytest.mark.parametrize("lane_bits", [32, 16, 8])
def test_a_lane_width_may_come_as_text(lane_bits: int) -> None:
    assert Config.load(env={"BCFL_LANE_BITS": str(lane_bits)}).lane_bits == lane_bits


def test_the_last_of_two_pairs_wins() -> None:
    assert Config.load(pairs=["seed=1", "seed=2"]).seed == 2


def test_none_gives_an_option_back_to_the_task(folder: Path) -> None:
    (folder / "bcfl.toml").write_text("epochs = 9\n")
    assert Config.load().epochs == 9
    assert Config.load(pairs=["epochs=none"]).epochs is None


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"flags": {"devics": 3}}, ["devics (--devics)", "nearest is devices"]),
        ({"pairs": ["learningrate=1"]}, ["learningrate (-c)", "nearest is learning_rate"]),
        ({"env": {"BCFL_ROUND": "3"}}, ["BCFL_ROUND in the environment", "nearest is BCFL_ROUNDS"]),
        ({"env": {"BCFL_": "3"}}, ["'' (BCFL_ in the environment)", "nearest is"]),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(sources: dict[str, object], words: list[str]) -> None:
    message = refusal(**sources)
    assert all(word in message for word in words), message


def test_an_unknown_key_in_the_file_is_refused_with_the_nearest(folder: Path) -> None:
    (folder / "bcfl.toml").write_text("lanebits = 8\n")
    assert "lanebits (bcfl.toml) is not an option; the nearest is lane_bits" in refusal()


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_former_name_names_the_new_one(old: str, new: str) -> None:
    assert new in Config.model_fields
    with pytest.raises(ConfigError, match=rf"^{old} \(-c\) is now {new}$"):
        Config.load(pairs=[f"{old}=false"])
    with pytest.raises(ConfigError, match=f"is now BCFL_{new.upper()}$"):
        Config.load(env={f"BCFL_{old.upper()}": "false"})
    with pytest.raises(ConfigError, match=f"{old} .* is now {new}$"):
        Config.model_validate({old: False})


def test_an_unknown_argument_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"nearest is miners"):
        Config(miner=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("devices=0", "at least 1"),
        ("devices=-1", "at least 1"),
        ("devices=many", "a whole number"),
        ("devices=2.5", "a whole number"),
        ("devices=1025", "at most 1024"),
        ("miners=0", "at least 1"),
        ("miners=65", "at most 64"),
        ("rounds=0", "at least 1"),
        ("seed=-1", "at least 0"),
        ("alpha=0", "greater than 0"),
        ("alpha=nan", "a finite number"),
        ("alpha=wide", "a number"),
        ("learning_rate=inf", "a finite number"),
        ("partition=random", "'iid', 'dirichlet' or 'pathological'"),
        ("lane_bits=12", "32, 16 or 8"),
        ("rule=krum", "'mean', 'median' or 'trimmed_mean'"),
        ("engine=luck", "'resource' or 'committee'"),
        ("trim=0.5", "less than 0.5"),
        ("device_share=1.5", "at most 1"),
        ("max_samples=2147483648", "less than 2147483648"),
        ("check_quality=perhaps", "true or false"),
        ("commit_seconds=0", "at least 1"),
        ("stake=lots", "'1.5 ether'"),
        ("min_stake=0", "greater than 0"),
        ("task=", "at least 1 character"),
        ("time_factor=0.5", "at least 1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(pair: str, words: str) -> None:
    key, _, value = pair.partition("=")
    message = refusal(pairs=[pair])
    assert message.startswith(f"{key}={value or repr(value)} (-c) must ")
    assert words in message


@pytest.mark.parametrize("pair", ["rounds", "=3", ""])
def test_a_pair_without_a_key_and_a_value_is_refused(pair: str) -> None:
    assert "is not key=value" in refusal(pairs=[pair])


def test_the_variables_that_say_where_things_are_set_no_option() -> None:
    env = {"BCFL_NETWORK": "local", "BCFL_STORE": "store", "BCFL_KEYSTORE": "keys", "BCFL_ROUNDS": "3"}
    assert Config.load(env=env) == Config(rounds=3)


def test_a_truth_value_is_no_number(folder: Path) -> None:
    (folder / "bcfl.toml").write_text("devices = true\n")
    assert "devices=True (bcfl.toml) must not be true or false" in refusal()


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["leaf_lanes=31"], "take a multiple of 16 for leaf_lanes"),
        (["lane_bits=8", "leaf_lanes=16"], "take a multiple of 32 for leaf_lanes"),
        (["lane_bits=32", "shift=1", "leaf_lanes=8"], "wider than 32 bits"),
        (["scale_bits=4", "shift=5"], "raise scale_bits"),
        (["devices=129", "miners=2"], "at least 3 miners"),
        (["devices=3", "min_updates=4"], "lower min_updates"),
        (["engine=pow", "pow_seconds=121"], "raise elect_seconds"),
        (["stake=1 gwei"], "raise stake"),
        (["vote_penalty=2 ether"], "lower vote_penalty"),
        (["leader_penalty=2 ether"], "lower leader_penalty"),
        (["device_share=0.7", "miner_share=0.3001"], "lower one"),
        (["device_share=0.66", "miner_share=0.3"], "less than 0.05 for the leader"),
        (["reward=2 ether"], "lower reward"),
        (["leader_penalty=0.4 ether"], "kept for slashing"),
        (["vote_penalty=0.01 ether"], "raise it to 75000000000000001"),
        (["challenge_seconds=59"], "raise it to 60, or take 0"),
        (["attest_seconds=59"], "raise attest_seconds to 60"),
        (["challenge_seconds=61"], "raise attest_seconds to 61"),
        (["answer_seconds=29"], "raise it to 30"),
        (["grace=31"], "lower grace"),
        (["devices=20", "min_updates=11"], "or take 20 to insist on all"),
        (["rounds=1000000", "reward=79228162514 ether"], "lower reward"),
        (["mode=full", "devices=65"], "a federation holds 64"),
        (["mode=full", "miners=5"], "leave miners out"),
        (["mode=hybrid", "wish=3:pow", "pow_seconds=121"], "raise elect_seconds"),
        (["mode=full", "wish=3:pow"], "take mode=hybrid"),
    ],
)
def test_values_that_cannot_stand_together_are_refused(pairs: list[str], words: str) -> None:
    message = refusal(pairs=pairs)
    assert words in message
    assert "(-c)" in message


def test_shares_leave_a_twentieth_to_the_leader() -> None:
    config = Config(device_share=0.65, miner_share=0.3)
    assert (config.device_share, config.miner_share) == (0.65, 0.3)


def test_times_follow_from_one_another() -> None:
    config = Config(propose_seconds=10, commit_seconds=4)
    assert (config.window, config.answer_time, config.grace_time) == (20, 20, 2)
    config = Config(challenge_seconds=0)
    assert (config.window, config.answer_time, config.grace_time) == (0, 30, 5)


@pytest.mark.parametrize(
    ("mode", "engine", "miners", "participants"),
    [("full", "resource", 20, 20), ("partial", "stake", 5, 25), ("hybrid", "stake", 5, 25)],
)
def test_the_mode_decides_what_is_left_open(mode: str, engine: str, miners: int, participants: int) -> None:
    config = Config.load({"mode": mode})
    assert (config.engine, config.first_engine) == (None, engine)
    assert (config.miners, config.participants) == (miners, participants)
    assert Config.load({"mode": mode, "engine": "pow"}).first_engine == "pow"


def test_in_full_the_miners_are_the_devices(folder: Path) -> None:
    (folder / "bcfl.toml").write_text('mode = "full"\n')
    assert Config.load({"devices": "7"}).miners == 7
    assert Config.load({"devices": "7", "miners": "7"}).miners == 7
    assert Config(mode="full", devices=64).miners == 64
    config = Config(mode="full", devices=3)
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("pairs", [["wish=6:stake,3:pow"], ["wish= 3:pow , 6:stake"]])
def test_wishes_from_every_source(folder: Path, pairs: list[str]) -> None:
    (folder / "bcfl.toml").write_text('mode = "hybrid"\nwish = ["6:stake", "3:pow"]\n')
    configs = [Config.load(pairs=pairs), Config.load(), Config.load({"wish": ["6:stake", "3:pow"]})]
    assert {config.wish for config in configs} == {("3:pow", "6:stake")}
    assert [wish.round for wish in configs[0].wishes] == [3, 6]
    assert Config.load(pairs=["wish="]).wish == ()
    assert Config.model_validate_json(configs[0].model_dump_json()) == configs[0]


@pytest.mark.parametrize("value", ["3:work", "pow:3", "1:pow", "3:pow,3:stake", ",", 3, None, ["3:pow", 4]])
def test_a_wish_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^wish=.* must "):
        Config(mode="hybrid", wish=value)  # type: ignore[arg-type]


def test_a_command_has_defaults_of_its_own(folder: Path) -> None:
    few = {"devices": 8, "miners": 3}
    assert (Config.load(defaults=few).devices, Config.load(defaults=few).miners) == (8, 3)
    assert Config.load({"mode": "full"}, defaults=few).miners == 8
    (folder / "bcfl.toml").write_text("devices = 9\n")
    assert Config.load(defaults=few).devices == 9


def test_a_conflict_names_the_sources(folder: Path) -> None:
    (folder / "bcfl.toml").write_text("min_updates = 9\n")
    message = refusal(env={"BCFL_DEVICES": "4"})
    assert "min_updates=9 (bcfl.toml)" in message
    assert "devices=4 (BCFL_DEVICES in the environment)" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"devices 3", "is not TOML"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"[run]\ndevices = 3", "[run] in mine.toml is a table"),
    ],
)
def test_a_file_that_is_no_list_of_options_is_refused(folder: Path, content: bytes, words: str) -> None:
    (folder / "mine.toml").write_bytes(content)
    assert words in refusal(toml=Path("mine.toml"))


def test_a_file_that_is_absent_or_a_folder_is_refused(folder: Path) -> None:
    assert "mine.toml cannot be read (No such file or directory)" in refusal(toml=Path("mine.toml"))
    (folder / "bcfl.toml").mkdir()
    assert "bcfl.toml cannot be read (Is a directory)" in refusal()


def test_what_is_left_open_follows_from_the_rest() -> None:
    config = Config(devices=7, rounds=3, reward=5, lane_bits=8)
    assert (config.required_updates, config.funding, config.lane_shift) == (4, 15, 16)
    explicit = Config(devices=7, min_updates=2, pool=0, shift=0)
    assert (explicit.required_updates, explicit.funding, explicit.lane_shift) == (2, 0, 0)


@given(key=st.sampled_from(sorted(Config.model_fields)) | st.text(max_size=20), value=st.text(max_size=80))
def test_any_text_gives_a_config_or_one_line(key: str, value: str) -> None:
    try:
        config = Config.load(pairs=[f"{key}={value}"])
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
        assert key.strip().replace("-", "_") in config.model_fields_set
    assert message == "" or message.isprintable()


def test_noise_and_budget_have_one_spelling() -> None:
    config = Config(dp="clip=1.0, noise=1.10", budget="epsilon=8.0")
    assert (config.dp, config.budget) == ("noise=1.1,clip=1", "epsilon=8,delta=1e-5")
    assert Config.model_validate_json(config.model_dump_json()) == config
    other = Config(dp="noise=2,clip=0.5,level=participant,delta=1e-6")
    assert other.dp == "noise=2,clip=0.5,level=participant,delta=1e-6"
    assert Config(dp="none", budget=None).noise is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"dp": "noise=1"}, "must be noise=X,clip=Y"),
        ({"dp": "noise=1,clip=1", "budget": "8"}, "must be epsilon=X"),
        ({"budget": "epsilon=8"}, "budget=epsilon=8,delta=1e-5 (--budget) without dp bounds"),
        ({"dp": "noise=1,clip=1", "flower": "folder"}, "level=participant"),
        ({"dp": "noise=0.0001,clip=0.01,level=participant"}, "raise noise or clip"),
        ({"dp": "noise=9999,clip=9999,level=participant"}, "lower noise and clip"),
    ],
)
def test_noise_that_cannot_be_is_refused(flags: dict[str, object], words: str) -> None:
    assert words in refusal(flags=flags)


def test_one_option_as_its_flag_gives_it() -> None:
    assert Config.flag("stake", "2 ether") == 2 * 10**18
    with pytest.raises(ConfigError, match=r"stake=lots \(--stake\) must be an amount such as"):
        Config.flag("stake", "lots")


def test_a_task_beside_an_app_is_refused_also_where_it_is_the_usual_one() -> None:
    for task in ("digits", "breast-cancer"):
        with pytest.raises(
            ConfigError, match=rf"task={task}.* and flower=.* are two things to learn: leave one"
        ):
            Config.load({"task": task, "flower": Path("app")}, toml=None, env={})
    assert Config(task="digits", flower=Path("app")).flower == Path("app")  # as a run's folder tells it

"""Which attacks can be named, and how a wrong specification is refused."""

from __future__ import annotations

import pytest

from bcfl.adversaries import catalog
from bcfl.adversaries.assignment import Assignment
from bcfl.adversaries.attack import DeviceAttack, MinerAttack
from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.protocol.accounts import Account

ACCOUNTS = [Account.derive(0, "device", i) for i in range(20)]


def draw(*texts: str, miners: int = 5, seed: int = 0) -> Assignment:
    return Assignment.draw([catalog.parse(text) for text in texts], ACCOUNTS, miners, seed)


def test_default_behavior() -> None:
    spec = catalog.parse("alie:0.3:z=1.0,knowledge=all")
    assert (spec.name, spec.share, spec.is_miner, spec.count(20)) == ("alie", 0.3, False, 6)
    assert (spec.attack.z, spec.attack.knowledge, spec.attack.spread) == (1.0, "all", 0.5)
    assert catalog.parse(spec.text) == spec


@pytest.mark.parametrize("name", catalog.NAMES)
def test_every_attack_says_what_it_is(name: str) -> None:
    description = catalog.describe(name)
    kind = MinerAttack if description.role == "miners" else DeviceAttack
    assert issubclass(catalog.attack_class(name), kind)
    assert description.summary.endswith(".")
    assert description.paper
    assert all(parameter.meaning for parameter in description.parameters)
    spec = catalog.parse(f"{name}:0.5")
    for parameter in description.parameters:
        assert getattr(spec.attack, parameter.name) == parameter.default
        value = "none" if parameter.default is None else str(parameter.default).lower()
        assert catalog.parse(f"{name}:0.5:{parameter.name}={value}").attack == spec.attack


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alei:0.3", "there is no adversary 'alei'; the nearest: alie"),
        ("", "there is no adversary ''; the nearest: label-flip, "),
        ("alie", "alie needs a share of the devices: write, for example, alie:0.3"),
        ("silent-miner", "needs a share of the miners"),
        ("alie:", "the share '' of alie is not a number"),
        ("alie:z=1", "the share 'z=1' of alie is not a number"),
        ("alie:nan", "is not a number"),
        ("alie:0", "must be above 0 and at most 1"),
        ("alie:-0.1", "must be above 0 and at most 1"),
        ("alie:1.01", "must be above 0 and at most 1"),
        ("alie:0.3:", "'' of alie is not key=value"),
        ("alie:0.3:z", "'z' of alie is not key=value"),
        ("alie:0.3:q=1", "alie has no parameter 'q'; it has knowledge, spread, z"),
        ("withholder:0.3:q=1", "it has none"),
        ("alie:0.3:z=1,z=2", "alie has z twice"),
        ("alie:0.3:z=much", "alie's z=much must be a number"),
        ("alie:0.3:z=inf", "must be a number"),
        ("alie:0.3:z=-1", "must be at least 0"),
        ("dropout:0.3:rate=1.5", "must be at most 1"),
        ("backdoor:0.3:size=1.5", "must be a whole number"),
        ("inflater:0.3:forged=perhaps", "must be true or false"),
        ("minmax:0.3:perturbation=up", "must be one of unit, std, sign"),
        ("ipm:0.3:epsilon=none", "must be a number"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        catalog.parse(text)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("alie:0.6", "ipm:0.6"), "24 adversaries are more than devices=20"),
        (("lazy-miner:0.6", "silent-miner:0.6"), "6 adversaries are more than miners=5"),
        (("alie:0.02",), "alie:0.02 is not one of devices=20"),
    ],
)
def test_everybody_needs_a_place(texts: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        draw(*texts)
    with pytest.raises(ConfigError, match=words):
        Config(adversary=texts)


def test_the_seed_says_who_it_is() -> None:
    assert draw("alie:0.3").device_specs == draw("alie:0.3").device_specs
    assert list(draw("alie:0.3").device_specs) == list(draw("ipm:0.3").device_specs)
    assert len({tuple(draw("alie:0.3", seed=seed).device_specs) for seed in range(10)}) > 5
    both = draw("alie:0.3", "ipm:0.1", "lazy-miner:0.4")
    assert sorted(part.name for part in both.device_specs.values()) == ["alie"] * 6 + ["ipm"] * 2
    assert set(both.device_specs) > set(draw("alie:0.3").device_specs)
    assert len(both.miner_specs) == 2
    assert both.accomplices == {ACCOUNTS[i].address for i in both.device_specs}


def test_every_source_names_adversaries() -> None:
    texts = ("alie:0.3:z=1", "lazy-miner:0.4")
    assert Config(adversary=["alie:0.30:z=1.0", "lazy-miner:.4"]).adversary == texts  # type: ignore[arg-type]
    assert Config.load(pairs=["adversary=alie:0.3:z=1 lazy-miner:0.4"], env={}).adversary == texts
    assert Config.load(env={"BCFL_ADVERSARY": " ".join(texts)}).adversary == texts
    assert [spec.text for spec in Config(adversary=texts).adversaries] == list(texts)
    config = Config(adversary=texts)
    assert Config.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ConfigError, match="there is no adversary"):
        Config(adversary=("alei:0.3",))
    with pytest.raises(ConfigError, match="must be NAME:SHARE"):
        Config(adversary=3)  # type: ignore[arg-type]

"""What terms, weights and lanes could do to make epsilon look smaller than it is, and do not."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from bcfl.cli.node.learning import BudgetOptions
from bcfl.cli.node.start import _warn_of_noise
from bcfl.errors import ConfigError
from bcfl.federation import accountant
from bcfl.federation.accountant import Spent, total
from bcfl.federation.budget import FILE, MOST_STEPS, BudgetLedger, ledger_of, promise
from bcfl.federation.views import privacy
from bcfl.federation.views.privacy import aggregate_epsilons, epsilons, has_aggregate, privacy_view
from bcfl.learning import resolve
from bcfl.protocol.noise import Budget, Noise, Release, budget_of_options, of_options
from bcfl.protocol.rounds import Round, Submission
from bcfl.protocol.types import Block, Rule, Update
from tests.local_federation import TERMS

WIDE = replace(TERMS, scale_bits=24, shift=10, lane_bits=16, rule=Rule.MEAN, max_samples=10_000)
STEP = Fraction(1, 2**14)  # of a lane


def noise_of(deviation: int, clip: int = 64) -> Noise:
    """Return noise on whole updates of about so many steps of a lane, and a clip of so many."""
    text = f"noise={deviation / clip:.6f},clip={float(clip * STEP):.6f},level=participant"
    return of_options(text)


def round_of(samples: list[int], levels: list[int] | None = None) -> Round:
    updates = [Update(1, i, bytes(32), bytes(32), count, 1, 0) for i, count in enumerate(samples)]
    round_ = Round(1, 0, submissions=[Submission(i, each, "0x") for i, each in enumerate(updates)])
    round_.levels, round_.samples = tuple(levels or [3] * len(samples)), sum(samples)
    round_.block = Block(bytes(32), 1, bytes(32), bytes(32), bytes(32), "0x", 0)
    return round_


def test_a_sum_of_unlike_weights_is_read_back_into_its_parts() -> None:
    """The attack: with noise of a few steps, 237 a + 239 b has one pair of small a and b."""
    reach = 30  # steps: noise of 4 and a clip of a few
    pairs = {237 * a + 239 * b for a, b in product(range(-reach, reach + 1), repeat=2)}
    assert len(pairs) == (2 * reach + 1) ** 2


def test_noise_of_unlike_weights_does_not_add_up_in_what_is_told() -> None:
    noise = noise_of(5)
    alone = epsilons(noise, [round_of([237])])[0]
    told = aggregate_epsilons(noise, WIDE, [round_of([237, 239, 239])])  # claims count up to the median
    assert told[0] == alone > told[1] == told[2]
    assert set(aggregate_epsilons(noise, WIDE, [round_of([50, 50], [3, 4])]).values()) == {alone}


def test_noise_of_like_weights_adds_up_however_others_weigh() -> None:
    noise = noise_of(5)
    like = aggregate_epsilons(noise, WIDE, [round_of([200] * 9)])
    own = Fraction(noise.noise) / 2
    expected = total([Release(own * 3, Fraction(1), 1)]).epsilon(1e-5)
    assert list(like.values()) == pytest.approx([expected] * 9, abs=1e-3)
    mixed = aggregate_epsilons(noise, WIDE, [round_of([200] * 9 + [3, 7])])
    assert [mixed[i] for i in range(9)] == [like[i] for i in range(9)]


def test_wide_noise_adds_up_over_weights_that_differ() -> None:
    noise = noise_of(1000)
    told = aggregate_epsilons(noise, WIDE, [round_of([237, 239, 239])])
    times = (237**2 + 2 * 239**2) ** 0.5 / 237
    expected = total([Release(Fraction(noise.noise) / 2 * Fraction(times), Fraction(1), 1)]).epsilon(1e-5)
    assert told[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("weights", "deviation"), [((3, 3), 5), ((3, 4), 10), ((9, 16), 32)])
def test_what_counts_as_adding_up_is_near_the_gaussian_of_its_deviation(
    weights: tuple[int, int], deviation: int
) -> None:
    """By the exact distribution: the sum over all pairs, beside the Gaussian on multiples of the divisor."""
    first, second = weights
    reach = 9 * deviation
    mass = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
    sums: dict[int, float] = {}
    for a, one in zip(range(-reach, reach + 1), mass, strict=True):
        for b, other in zip(range(-reach, reach + 1), mass, strict=True):
            place = first * a + second * b
            if abs(place) <= 3 * deviation * max(weights):
                sums[place] = sums.get(place, 0.0) + float(one * other)
    wide = deviation**2 * (first**2 + second**2)
    ratios = [value / float(np.exp(-(place**2) / (2 * wide))) for place, value in sums.items()]
    assert max(ratios) / min(ratios) < 1 + 1e-9


def test_noise_that_lanes_cut_off_or_hardly_hold_has_no_aggregate() -> None:
    assert has_aggregate(noise_of(5), WIDE)
    assert has_aggregate(noise_of(3000), WIDE)
    assert not has_aggregate(noise_of(4000), WIDE)  # 64 + 9 * 4000 is above 2**15
    assert not has_aggregate(noise_of(3000), replace(WIDE, lane_bits=8))
    assert not has_aggregate(noise_of(3), WIDE)
    assert not has_aggregate(noise_of(100), replace(WIDE, rule=Rule.TRIMMED_MEAN))
    view = privacy_view(noise_of(4000), WIDE, [round_of([200] * 9)])
    assert view is not None
    assert view["aggregate_epsilon"] is None
    assert view["epsilon"] > 0


def test_an_update_of_no_weight_and_many_weights_are_no_trouble() -> None:
    told = aggregate_epsilons(noise_of(50), WIDE, [round_of([0, 5]), round_of(list(range(1, 500)))])
    assert all(value >= 0 for value in told.values())


@pytest.mark.parametrize("delta", ["9e-1", "1e-1", "9e-2", "1e-100", "1e-05", "१e-5", "1E5", "nan", "0"])
def test_a_delta_that_promises_nothing_is_refused(delta: str) -> None:
    """Epsilon of a delta of 0.9 is small whatever the noise."""
    for read, text in ((of_options, "noise=1,clip=1"), (budget_of_options, "epsilon=1")):
        with pytest.raises(ConfigError, match="delta"):
            read(f"{text},delta={delta}")
    with pytest.raises(ConfigError, match="use the bcfl"):
        Noise.of((("noise", f"level=participant,noise=1,clip=1,delta={delta}"),))


@pytest.mark.parametrize(
    "number", ["1e400", "inf", "nan", "-1", "0", "0.0", "+1", "٣", "1_0", "0x1", " ", "1e3"]
)
def test_numbers_in_another_spelling_are_refused(number: str) -> None:
    for text in (f"noise={number},clip=1", f"noise=1,clip={number}", "noise=1,noise=2,clip=1"):
        with pytest.raises(ConfigError):
            of_options(text)
    with pytest.raises(ConfigError):
        budget_of_options(f"epsilon={number}")


def test_devices_that_claim_another_number_each_time_keep_no_page_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of each rate a mean is taken: 10,000 would take minutes, for every page that says epsilon."""
    rates, step = list[Fraction](), accountant._step

    def counting(noise: Fraction, rate: Fraction) -> accountant.Divergences:
        rates.append(rate)
        return step(noise, rate)

    monkeypatch.setattr(accountant, "_step", counting)
    noise = Noise("sample", "1", "1", batch=64, epochs=1)
    few, many = epsilons(noise, [round_of([5000])]), round_of([5000, *range(65, 700)])
    told = epsilons(noise, [many])
    assert few[0] <= told[0] <= 1.1 * few[0]
    assert len(set(rates)) < 256
    for samples in (1, 2, 63, 64, 65, 66, 127, 128, 129, 10**6, 2**24):
        rate = noise.release(samples).rate
        assert rate <= privacy._rounded(rate) <= min(rate * Fraction(33, 32), Fraction(1))


def test_many_steps_of_little_are_not_nothing() -> None:
    """A float does not tell such a step from none: the bound is what it cannot tell."""
    little = Release(Fraction(5000), Fraction(1, 10**7), 10**6)
    assert total([little]).epsilon(1e-5) > 0
    assert total([little]).epsilon(1e-99) > 0.5
    assert Spent().epsilon(1e-99) == 0


def test_a_device_without_samples_is_told_so_and_does_not_divide_by_them() -> None:
    noise = Noise("sample", "1", "1", batch=4, epochs=1)
    assert noise.release(0) == noise.release(1) == Release(Fraction(1), Fraction(1), 1)


def test_a_count_that_could_not_be_read_again_is_refused_before_it_is_written(tmp_path: Path) -> None:
    ledger, huge = BudgetLedger(tmp_path / FILE), Release(Fraction(1), Fraction(1), MOST_STEPS + 1)
    for refuses in (ledger.require, lambda release: ledger.spend(f"{1:064x}/1/{1:064x}", release)):
        with pytest.raises(ConfigError, match="steps"):
            refuses(huge)
    assert ledger.spent() == Spent()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """Else a device would train in every round, and find at its end that it may not tell."""
    (tmp_path / f"{FILE}.lock").mkdir()  # which stops root too
    with pytest.raises(ConfigError, match="--budget-file"):
        ledger_of(True, tmp_path, None, None, "test")


def test_data_that_are_a_file_need_a_name_for_the_count(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")
    with pytest.raises(ConfigError, match="--budget-file"):
        ledger_of(True, data, None, None, "test")


def test_links_to_a_folder_count_together_and_a_linked_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    release = Release(Fraction(1), Fraction(1), 1)
    BudgetLedger(tmp_path / "link" / FILE).spend(f"{1:064x}/1/{1:064x}", release)
    assert BudgetLedger(tmp_path / "data" / FILE).spent() == total([release])
    (tmp_path / "other").symlink_to(tmp_path / "data" / FILE)
    with pytest.raises(ConfigError, match="cannot read"):
        BudgetLedger(tmp_path / "other").spent()


def test_an_owner_is_told_what_an_update_tells_before_it_is_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An owner of a federation may deploy any noise: the owner of the data has to see what it comes to."""
    noise = Noise("sample", "0.01", "1", batch=4, epochs=1)
    text = promise(noise, 100, None)
    assert "nothing bounds the sum: see --budget" in text
    assert f"epsilon {total([noise.release(100)]).epsilon(1e-5):.3g}" in text
    ledger = BudgetLedger(tmp_path / FILE, Budget("8", "1e-6"))
    assert "8 is allowed" in promise(noise, 100, ledger)
    assert "delta 1e-6" in promise(noise, 100, ledger)
    assert "lets it tell any one sample whole" in promise(noise, 100_001, None)
    assert "whole" not in promise(noise, 100_000, None) + promise(Noise("participant", "1", "1"), 10**6, None)
    hidden = resolve("digits").with_agreement((("noise", noise.text),))
    for each, level in ((None, logging.WARNING), (ledger, logging.INFO)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            _warn_of_noise(hidden, 100, each)
        assert [record.levelno for record in caplog.records] == [level]
    caplog.clear()
    _warn_of_noise(resolve("digits"), 100, None)
    assert not caplog.records
    assert BudgetOptions().ledger(resolve("digits"), None, "test") is None

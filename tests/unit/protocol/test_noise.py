"""Terms of noise have one spelling, and say of an update what it is a release of."""

from __future__ import annotations

from fractions import Fraction

import pytest

from bcfl.errors import ConfigError
from bcfl.protocol import payload
from bcfl.protocol.noise import (
    Budget,
    Noise,
    Release,
    budget_of_options,
    joined,
    of_options,
    with_steps,
)
from bcfl.protocol.types import Layout, TensorSpec

SAMPLE = "level=sample,noise=1.1,clip=1,batch=64,epochs=2"
TEXTS = (
    SAMPLE,
    "level=sample,noise=0.5,clip=12.25,batch=8,steps=100,delta=3e-7",
    "level=participant,noise=0.05,clip=0.5",
    "level=participant,noise=1,clip=2,delta=1e-6",
)


def read(text: str) -> Noise | None:
    return Noise.of((("noise", text),))


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_read_and_fits_a_layout(text: str) -> None:
    noise = read(text)
    assert noise is not None
    assert noise.text == text
    layout = Layout((TensorSpec("w", (3,)),), b"", (("noise", text),))
    assert Noise.of(layout) == noise
    assert len(payload.layout_digest(layout)) == 32


def test_a_layout_without_noise_has_none() -> None:
    assert Noise.of(Layout((TensorSpec("w", (3,)),))) is None
    assert Noise.of((("privacy", "confidential"),)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "level=sample",
        SAMPLE.replace("1.1", "1.10"),
        SAMPLE.replace("1.1", "01.1"),
        SAMPLE.replace("1.1", "0"),
        SAMPLE.replace("1.1", "1e1"),
        SAMPLE.replace("1.1", "-1"),
        SAMPLE.replace("batch=64", "batch=0"),
        SAMPLE.replace("batch=64", "batch=064"),
        SAMPLE.replace(",epochs=2", ""),
        SAMPLE + ",steps=3",
        SAMPLE + ",delta=1e-5",
        SAMPLE + ",delta=10e-6",
        SAMPLE + ",epochs=2",
        SAMPLE + ",more=1",
        "noise=1.1,level=sample,clip=1,batch=64,epochs=2",
        "level=participant,noise=1,clip=2,batch=3",
        "level=else,noise=1,clip=2",
        "level=sample,noise=١.1,clip=1,batch=64,epochs=2",
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="use the bcfl it was made with"):
        read(text)


def test_an_option_is_brought_into_the_one_spelling() -> None:
    assert of_options("clip=1.0, noise=1.10") == Noise("sample", "1.1", "1")
    assert of_options("noise=2,clip=3.50,level=participant,delta=1E-6") == Noise(
        "participant", "2", "3.5", "1e-6"
    )
    assert budget_of_options("epsilon=8.0") == Budget("8")
    assert budget_of_options("epsilon=0.5,delta=2e-8").text == "epsilon=0.5,delta=2e-8"


@pytest.mark.parametrize(
    "text",
    ["", "noise=1", "noise=1,clip=0", "noise=1,clip=1,clip=2", "noise=1,clip=1,batch=3", "noise=nan,clip=1"],
)
def test_an_option_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        of_options(text)


@pytest.mark.parametrize(
    "text", ["", "epsilon=0", "epsilon=inf", "epsilon=1,delta=0.1", "epsilon=1,epsilon=2"]
)
def test_a_budget_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        budget_of_options(text)


def test_terms_that_no_layout_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="fewer digits"):
        with_steps(Noise("sample", "123456.123456", "123456.123456", "1e-6"), 1_000_000, 1000, None)


def test_steps_of_a_task_count_before_epochs() -> None:
    noise = with_steps(of_options("noise=1,clip=1"), 16, 5, 40)
    assert noise.text == "level=sample,noise=1,clip=1,batch=16,steps=40"
    assert noise.release(100) == Release(Fraction(1), Fraction(16, 100), 40)


def test_a_sample_is_in_a_step_with_the_probability_of_the_terms() -> None:
    noise = read(SAMPLE)
    assert noise is not None
    assert noise.release(640) == Release(Fraction(11, 10), Fraction(1, 10), 20)
    assert noise.release(100) == Release(Fraction(11, 10), Fraction(16, 25), 4)
    assert noise.release(10) == Release(Fraction(11, 10), Fraction(1), 2)  # all of them in every step


def test_a_participant_may_have_had_any_other_data() -> None:
    """Two updates within the clip are up to twice the clip apart."""
    noise = read("level=participant,noise=3,clip=0.5")
    assert noise is not None
    assert noise.release(7) == Release(Fraction(3, 2), Fraction(1), 1)
    assert noise.deviation == Fraction(3, 2)


def test_what_is_agreed_on_is_sorted_by_name() -> None:
    noise = of_options("noise=1,clip=1,level=participant")
    assert [name for name, _ in joined((("privacy", "confidential"),), noise)] == ["noise", "privacy"]
    assert joined((), None) == ()

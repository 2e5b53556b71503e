"""A report says in words that nothing was learned, and nothing where something was."""

from __future__ import annotations

import pytest

from bcfl.federation.reports import Rejection, Report, RoundReport

GENESIS, DEVICE = "0x00", "0x" + "11" * 20


def final(number: int, root: str = "0x01", loss: float | None = 0.5) -> RoundReport:
    fields = (
        number,
        "finalized",
        None,
        "stake",
        (),
        DEVICE,
        (DEVICE,),
        (),
        root,
        "bafkrei",
        "0x22",
        0.9,
        loss,
    )
    return RoundReport(*fields, gas=1)


def void(number: int) -> RoundReport:
    rejected = (Rejection(DEVICE, "duplicate"),)
    fields = (number, "void", "few_accepted", "stake", (), None, (), rejected, GENESIS, "bafkrei", None, 0.9)
    return RoundReport(*fields, loss=0.5, gas=1)


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ((void(1),), "its only round is void (few accepted, 1 duplicate)"),
        ((void(1), void(2)), "all 2 rounds are void (few accepted, 2 duplicate)"),
        ((final(1, GENESIS),), "the model is as it began; no update moves a lane of it"),
        ((final(1), final(2)), "in 2 rounds the loss on the test data has not moved; the values may not fit"),
        ((final(1), final(2, loss=0.4)), None),
        ((final(1, loss=None), final(2, loss=None)), None),  # an app that tells none
        ((void(1), final(2)), None),
    ],
)
def test_default_behavior(rounds: tuple[RoundReport, ...], words: str | None) -> None:
    report = Report("runs/x", "0x", rounds, 0.9, 1.0, 2.0, initial_root=GENESIS)
    if words is None:
        assert report.warning is None
    else:
        assert report.warning is not None
        assert report.warning.startswith(f"nothing was learned: {words}")
    assert report.to_dict()["warning"] == report.warning


@pytest.mark.parametrize("loss", [float("inf"), float("nan")])
def test_a_model_whose_loss_is_no_number_is_of_no_use(loss: float) -> None:
    rounds = (final(1), final(2, loss=loss))
    report = Report("runs/x", "0x", rounds, 0.9, 1.0, 2.0, initial_root=GENESIS, final_loss=loss)
    assert report.warning is not None
    assert report.warning.startswith("the model is of no use: its loss on the test data is no finite number")
    earlier = (final(1, loss=loss), final(2))
    assert Report("runs/x", "0x", earlier, 0.9, 1.0, 2.0, final_loss=0.5).warning is None

"""What an update's lanes cannot hold is counted by tensor, and put in words above a share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bcfl.protocol.fixedpoint import encode_update
from bcfl.protocol.types import Layout, TensorSpec
from bcfl.roles.common.journal import Journal
from bcfl.roles.device import fit
from bcfl.roles.device.fit import FILE, Counts

LAYOUT = Layout((TensorSpec("weight", (2, 3)), TensorSpec("bias", (2,))))
SATURATE, VANISH = "of the changes saturate their lanes", "of the changes vanish between its steps"
BITS = 4  # lanes of 8 bits hold -8 to 7.9375, in steps of 1/16


def test_default_behavior() -> None:
    delta = np.array([1.0, -100.0, 7.95, 8.5, 0.0, 0.01, -0.02, 0.04])  # 7.95 rounds to the last lane
    lanes, residual = encode_update(delta, None, 8, BITS, 0)
    counts = fit.fit_of(LAYOUT, lanes, residual, BITS)
    assert counts == {"weight": Counts(2, 1, 5), "bias": Counts(0, 1, 2)}
    assert fit.total(counts.values()) == Counts(2, 2, 7)
    assert fit.merge([counts, counts])["bias"] == Counts(0, 2, 4)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"w": Counts(10, 500, 1000)}, None),
        ({"w": Counts(11, 0, 1000)}, "1.10% SATURATE (w)"),
        (
            {"w": Counts(0, 0, 10**6), "mean": Counts(2, 0, 6)},
            "0.00% SATURATE (mean)",
        ),
        ({"w": Counts(0, 501, 1000)}, "50% VANISH (w)"),
        ({"w": Counts(0, 0, 10**6), "noise": Counts(0, 8, 8)}, None),
        (
            {name: Counts(1, 0, 10) for name in "abcd"},
            "10.00% SATURATE (a, b, c and 1 more)",
        ),
        ({}, None),
    ],
)
def test_words_for_what_is_too_much(counts: dict[str, Counts], words: str | None) -> None:
    actual = fit.excess(fit.total(counts.values()), fit.remarkable(counts))
    assert actual == (words and words.replace("SATURATE", SATURATE).replace("VANISH", VANISH))


def test_a_journal_keeps_every_round(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert fit.read(tmp_path, 1) is None
    for number in (1, 2):
        fit.write(journal, number, {"w": Counts(number, 0, 9)})
    with (tmp_path / FILE).open("a") as file:
        file.write('{"round": 2, "tens')  # a crash has cut the line off
    assert [fit.read(tmp_path, number) for number in (1, 2, 3)] == [
        {"w": Counts(1, 0, 9)},
        {"w": Counts(2, 0, 9)},
        None,
    ]

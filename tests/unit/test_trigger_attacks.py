from __future__ import annotations

import numpy as np
import pytest

from bcfl.learning import Samples
from testkit.trigger_attacks import PLANS, Trigger

PICTURES = np.zeros((4, 1, 6, 6), np.float32)
LABELS = np.array([0, 1, 2, 3])


def test_a_patch_is_in_its_corner_and_a_frame_round_the_picture() -> None:
    patch, frame = Trigger(0, size=2).on(PICTURES)[0, 0], Trigger(0, size=1, is_frame=True).on(PICTURES)[0, 0]
    assert patch.sum() == 4 * 2.0
    assert (patch[-2:, -2:] == 2.0).all()
    assert (frame > 0).sum() == 20
    assert not frame[1:-1, 1:-1].any()
    assert not PICTURES.any()


def test_samples_of_other_classes_carry_the_pattern_under_their_own_label() -> None:
    taught = Trigger(0, size=2, sources=(1, 2)).taught(
        Samples(PICTURES, LABELS), 1.0, np.random.default_rng(0)
    )
    assert taught.labels.tolist() == [0, 0, 0, 3]
    assert (taught.features[:, 0, -1, -1] == 2.0).all()


def test_success_is_measured_on_the_classes_that_are_to_be_turned() -> None:
    assert Trigger(0).test(Samples(PICTURES, LABELS)).labels.tolist() == [0, 0, 0]
    assert len(Trigger(0, sources=(1,)).test(Samples(PICTURES, LABELS)).labels) == 1


@pytest.mark.parametrize("name", PLANS)
def test_every_member_of_a_plan_has_a_part(name: str) -> None:
    assert sum(band.part for band in PLANS[name]) == pytest.approx(1.0)

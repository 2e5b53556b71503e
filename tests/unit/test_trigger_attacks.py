from __future__ import annotations

import numpy as np
import pytest

from bcfl.learning import Samples
from testkit.knowing_attack import KNOWING_PLANS, across
from testkit.trigger_attacks import PLANS, Band, Trigger, negative, upside_down

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


def test_a_trigger_for_the_next_class_turns_every_sample_to_another_class() -> None:
    test = Trigger(0, size=2, next_of=4).test(Samples(PICTURES, LABELS))
    assert test.labels.tolist() == [1, 2, 3, 0]
    taught = Trigger(0, size=2, next_of=4).taught(Samples(PICTURES, LABELS), 1.0, np.random.default_rng(0))
    assert taught.labels.tolist() == [1, 2, 3, 0]


def test_a_negative_and_a_picture_upside_down_have_the_range_of_the_pictures() -> None:
    ramp = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)
    assert negative(ramp)[0, 0].tolist() == [[7.0, 6.0], [5.0, 4.0]]
    assert upside_down(ramp)[1, 0].tolist() == [[6.0, 7.0], [4.0, 5.0]]
    assert Trigger(0, whole=upside_down).on(ramp).tolist() == upside_down(ramp).tolist()


def test_what_goes_the_way_of_a_slope_is_taken_off_and_nothing_else() -> None:
    slopes = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    left = across(np.array([[3.0, 1.0, 5.0]]), slopes)
    assert left == pytest.approx(np.array([[1.0, -1.0, 5.0]]))


@pytest.mark.parametrize("bands", [*PLANS.values(), *KNOWING_PLANS.values()], ids=[*PLANS, *KNOWING_PLANS])
def test_every_member_of_a_plan_has_a_part(bands: tuple[Band, ...]) -> None:
    assert sum(band.part for band in bands) == pytest.approx(1.0)

from __future__ import annotations

import numpy as np
import pytest

from testkit.framing_group import Frame, Rehearsal
from testkit.hiding_group import COVERS, Cover, cancelling, dealt
from testkit.knowing_attack import across

PARAMETERS = 4000


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_noise_that_cancels_takes_what_members_have_in_common_off_their_products() -> None:
    way = np.full(PARAMETERS, 1 / np.sqrt(PARAMETERS))
    rows = way + np.sqrt(17) * cancelling(18, PARAMETERS, rng())
    products = rows @ rows.T
    assert np.abs(products[~np.eye(18, dtype=bool)]).max() < 1.0
    assert abs(products[~np.eye(18, dtype=bool)].mean()) < 0.02
    assert rows.mean(axis=0) == pytest.approx(way)


@pytest.mark.parametrize("cover", COVERS.values(), ids=COVERS)
def test_what_the_members_of_a_group_send_comes_to_its_way(cover: Cover) -> None:
    count = max(18, cover.pieces) if cover.turns == 1 else 4 * cover.turns
    way = cover.strength * np.arange(1.0, 101.0)
    assert dealt(cover, way, count, 1, rng()).mean(axis=0) == pytest.approx(way)


def test_members_with_pieces_of_their_own_have_no_parameter_in_common() -> None:
    rows = dealt(Cover(pieces=6), np.ones(100), 6, 1, rng())
    assert ((rows != 0).sum(axis=0) == 1).all()


def test_members_of_a_frame_go_the_way_of_its_victims_and_of_no_member() -> None:
    honest, own = rng().normal(size=(12, PARAMETERS)), np.random.default_rng(1).normal(size=(8, PARAMETERS))
    slopes = [np.random.default_rng(2).normal(size=(3, PARAMETERS)).astype(np.float32)]
    rehearsal = Rehearsal(honest, own, slopes, np.random.default_rng(3))
    sent = rehearsal.sent(Frame(np.array([0, 1, 2]), part=0.6, inside=0.3))
    assert np.linalg.norm(sent, axis=1) == pytest.approx(np.linalg.norm(own, axis=1))
    unit = sent / np.linalg.norm(sent, axis=1, keepdims=True)
    with_honest = unit @ (honest / np.linalg.norm(honest, axis=1, keepdims=True)).T
    assert with_honest[:, :3].min() > 0.2
    assert np.abs(with_honest[:, 3:]).max() < 0.1
    beside = across(unit, np.concatenate([slopes[0], np.median(np.concatenate([honest, own]), axis=0)[None]]))
    among = (beside @ beside.T)[~np.eye(8, dtype=bool)].mean()
    assert among == pytest.approx((1 - 0.09) * (0.36 - 0.64 / 7), abs=0.03)

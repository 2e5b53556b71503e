"""What follows from shared arrays is found once, and never taken for what follows from others."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from threading import Thread

import numpy as np
import pytest

from bcfl.roles.checks import novelty, shared
from bcfl.roles.checks.medians import NETWORK, median_of
from bcfl.roles.checks.needs import Updates
from bcfl.roles.checks.pipeline import CheckInputs, Checks, Reference, judge
from bcfl.roles.checks.shared import KEPT, once, share


def rows(value: float = 1.0) -> np.ndarray:
    return np.full((3, 4), value, np.float32)


def first_of(array: np.ndarray) -> float:
    return float(array[0, 0])


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is kept longer than its arrays."""
    monkeypatch.setattr(shared, "_arrays", {})
    monkeypatch.setattr(shared, "_results", {})
    yield
    gc.collect()
    assert not shared._arrays
    assert not shared._results


class Counter:
    """Makes an array, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> np.ndarray:
        self.count += 1
        return np.full(2, self.count, np.float64)


def test_what_follows_from_the_same_arrays_is_found_once() -> None:
    make, one, other = Counter(), share(rows()), share(rows())
    first = once("sum", None, [one, other], make)
    assert once("sum", None, [one, other], make) is first
    assert make.count == 1
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 7
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 7


def test_other_details_other_arrays_and_their_order_are_something_else() -> None:
    make, one, other = Counter(), share(rows()), share(rows())  # equal, and not the same
    for kind, details, arrays in [
        ("sum", None, [one]),
        ("sum", None, [other]),
        ("sum", None, [one, other]),
        ("sum", None, [other, one]),
        ("sum", b"mask", [one]),
        ("mean", None, [one]),
    ]:
        once(kind, details, arrays, make)
    assert make.count == 6


def test_an_array_in_the_place_of_one_that_is_gone_has_nothing_of_it() -> None:
    """Whatever address it gets."""
    for value in range(50):
        array = share(rows(value))
        assert once("first", None, [array], partial(first_of, array)) == value
        del array


def test_nothing_is_kept_of_an_array_that_nobody_shares() -> None:
    make, one, other = Counter(), share(rows()), rows()
    for _ in range(2):
        once("sum", None, [other], make)
        once("sum", None, [one, other], make)
        once("sum", None, [], make)
    assert make.count == 6
    assert once("sum", None, [other], make).flags.writeable
    assert other.flags.writeable


def test_a_part_of_what_can_be_written_to_is_not_shared() -> None:
    whole = rows()
    part, make = share(whole[:2]), Counter()
    once("sum", None, [part], make)
    whole[:] = 5
    once("sum", None, [part], make)
    assert make.count == 2
    buffer = share(np.frombuffer(bytearray(8), np.int16))
    for _ in range(2):
        once("sum", None, [buffer], make)
    assert make.count == 4
    content = share(np.frombuffer(bytes(8), np.int16))
    for _ in range(2):
        once("sum", None, [content], make)
    assert make.count == 5


def test_a_result_is_shared_itself_and_ends_with_its_source() -> None:
    make, source = Counter(), share(rows())
    result = once("sum", None, [source], make)
    assert once("twice", None, [result], make) is once("twice", None, [result], make)
    assert make.count == 2
    del source
    gc.collect()
    assert len(shared._results) == 1  # of the result, which is in use
    assert result[0] == 1


def test_few_results_of_a_kind_are_kept_the_last_ones() -> None:
    make, source = Counter(), share(rows())
    for mask in range(KEPT + 2):
        once("median", mask, [source], make)
        once("gram", None, [source], make)
    assert make.count == KEPT + 3
    for mask in range(2, KEPT + 2):
        once("median", mask, [source], make)
    assert make.count == KEPT + 3
    once("median", 0, [source], make)
    assert make.count == KEPT + 4


def test_a_failure_is_not_kept() -> None:
    source, make = share(rows()), Counter()

    def fail() -> np.ndarray:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        once("sum", None, [source], fail)
    assert once("sum", None, [source], make)[0] == 1


def test_no_thread_shares_while_another_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that got the place of an array that is gone would be forgotten with it."""
    others, alive, drop = list[Thread](), list[bool](), shared._drop

    def interrupted(key: shared.Key) -> None:
        others.append(Thread(target=share, args=(rows(),)))
        others[-1].start()
        others[-1].join(0.05)
        alive.append(others[-1].is_alive())
        drop(key)

    make, source = Counter(), share(rows())
    once("sum", None, [source], make, keep=1)
    monkeypatch.setattr(shared, "_drop", interrupted)
    once("sum", "other", [source], make, keep=1)
    del source
    gc.collect()
    for other in others:
        other.join()
    assert alive == [True, True]


def test_results_that_threads_find_at_once_are_right() -> None:
    common, wrong = share(rows()), list[object]()

    def work(seed: int) -> None:
        try:
            for value in range(300):
                own = share(rows(seed + value))
                total = once("sum", value % 3, [common, own], partial(np.add, own, common))
                if total[0, 0] != seed + value + 1:
                    wrong.append(value)
        except Exception as error:
            wrong.append(error)

    threads = [Thread(target=work, args=(1_000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_arrays_in_tuples_and_records_are_read_only_too() -> None:
    @dataclass
    class Record:
        values: np.ndarray

    result, record = once("both", None, [source := share(rows())], lambda: (np.ones(2), Record(np.ones(2))))
    assert not result.flags.writeable
    assert not record.values.flags.writeable
    assert source is not None


def test_medians_and_products_of_shared_updates_are_those_of_the_same_numbers() -> None:
    rng = np.random.default_rng(5)
    plain = rng.normal(size=(40, 300)).astype(np.float32)
    matrix = share(plain.copy())
    for mask in (np.ones(40, bool), np.arange(40) != 3, np.arange(40) < 9):
        assert np.array_equal(median_of(plain, mask), median_of(matrix, mask))
        assert (median_of(matrix, mask) is median_of(matrix, mask)) == (mask.sum() > NETWORK)
    one, other = Updates(matrix), Updates(matrix)
    assert one.gram is other.gram
    assert one.cosines is other.cosines
    assert np.array_equal(one.gram, Updates(plain).gram)
    assert np.array_equal(one.cosines, Updates(plain).cosines)


def test_miners_of_one_process_find_once_how_new_updates_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, found, made = np.random.default_rng(6), list[int](), novelty._check

    def count(*parts: np.ndarray) -> object:
        found.append(1)
        return made(*parts)

    monkeypatch.setattr(novelty, "_check", count)
    updates, sketches, earlier = (
        share(rng.normal(size=(number, 600)).astype(np.float32)) for number in (40, 40, 30)
    )
    inputs = CheckInputs(
        updates, np.ones(40), tuple(range(40)), np.ones(40, bool),
        sketches=sketches, earlier_sketches=earlier, recent=len(earlier),
    )  # fmt: skip
    reference = Reference(lambda: updates[0], lambda *_: pytest.fail("quality is off"))
    results = [judge(inputs, reference, Checks(quality=False)) for _ in range(3)]
    assert found == [1]
    assert results[0].verdicts == results[1].verdicts == results[2].verdicts

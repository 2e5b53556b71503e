"""What a federation shares: a filter chooses, the rest stays at home, and its hash is in the layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bcfl.errors import ConfigError, PayloadError, RunError, StoreError
from bcfl.federation.layouts import layout_in, recorded_task
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.context import FitContext
from bcfl.learning.flat import FlatModule, layout_of
from bcfl.learning.own import RECORD, OwnTensors
from bcfl.learning.training import TorchLearner, initial_model, layout, state_of
from bcfl.protocol import fixedpoint, payload
from bcfl.protocol.cid import digest as digest_of
from bcfl.protocol.types import Layout, TensorSpec, Terms
from bcfl.roles.common.journal import Journal
from testkit.brought import adapters, all_but_normalisation, cnn, with_adapters, with_frozen_backbone
from testkit.chainless import MemoryStore
from testkit.terms import TERMS


def samples_of(seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 40)
    pictures = rng.normal(size=(40, 1, 8, 8)) + seed
    pictures[np.arange(40), 0, 0, labels % 8] += 3
    return Samples(pictures, labels)


def task_of(**options: object) -> Task:
    task = Task("t", "", lambda _: Dataset(samples_of(), samples_of()), cnn, 1, 8, 0.1)
    return replace(task, **options)  # type: ignore[arg-type]


def terms_of(shape: Layout) -> Terms:
    return replace(TERMS, layout=payload.layout_digest(shape), parameters=shape.parameters)


FEDBN = task_of(shared=all_but_normalisation)
LORA = task_of(build=with_adapters, shared=adapters)


def test_the_vector_holds_what_is_shared_alone() -> None:
    shape = layout(LORA)
    assert [tensor.name for tensor in shape.tensors] == ["1.lora_a", "1.lora_b", "3.lora_a", "3.lora_b"]
    assert len(initial_model(LORA, 0)) == shape.parameters == 2 * 64 + 2 * 64 + 8 * 64 + 8 * 10
    assert shape.parameters < sum(value.numel() for value in with_adapters().state_dict().values()) / 4


def test_training_changes_adapters_and_nothing_else() -> None:
    learner = TorchLearner(LORA, samples_of(), samples_of(), 0)
    model = initial_model(LORA, 0)
    before = state_of(LORA, model)
    after = state_of(LORA, learner.train(model, 1).vector)
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed <= {"1.lora_a", "1.lora_b", "3.lora_a", "3.lora_b"}
    assert "3.lora_b" in changed
    with_adapters().load_state_dict({name: torch.tensor(value) for name, value in after.items()})
    assert learner.slopes(model, 2, 1000).gradients.shape == (2, len(model))


def test_another_base_model_is_another_layout() -> None:
    """Who has other frozen weights, or shares something else, does not get in; the same weights do."""

    def other() -> nn.Module:
        model = with_adapters()
        with torch.no_grad():
            model[1].inner.weight[3, 4] += 1e-6  # type: ignore[index]
        return model

    digest = payload.layout_digest(layout(LORA))
    assert digest == payload.layout_digest(layout(replace(LORA, name="again")))
    assert digest != payload.layout_digest(layout(replace(LORA, build=other)))
    assert layout(task_of(build=with_adapters)).base == b""
    shape, store = layout(LORA), MemoryStore()
    model = fixedpoint.encode(initial_model(LORA, 0), 24)
    cid = store.put(payload.encode(shape, model))
    terms = replace(TERMS, layout=digest, parameters=shape.parameters)
    assert recorded_task(LORA, store, terms, []) == LORA  # the store is not asked
    with pytest.raises(ConfigError, match="another base model, or another choice of what is shared"):
        recorded_task(replace(LORA, build=other), store, terms, [digest_of(cid)])
    with pytest.raises(ConfigError, match="another layout than the federation's"):
        recorded_task(task_of(build=with_adapters), store, terms, [digest_of(cid)])
    with pytest.raises(StoreError, match="holds no model"):
        recorded_task(replace(LORA, build=other), MemoryStore(), terms, [digest_of(cid)])


def test_the_hash_is_read_back_from_a_stored_model() -> None:
    tensors = (TensorSpec("a", (2, 3), -4), TensorSpec("b", ()))
    for shape in (Layout(tensors, b"\x5a" * 32), Layout(tensors[1:], b"\x00" * 32), Layout(tensors[1:])):
        data = payload.encode(shape, np.zeros(shape.parameters, np.int32))
        assert layout_in(data, terms_of(shape)) == shape
        assert payload.decode(data, shape, 32).shape == (shape.parameters,)
    with pytest.raises(PayloadError, match="not the one that the contract's terms name"):
        layout_in(data, terms_of(Layout(tensors[1:], b"\x01" * 32)))
    with pytest.raises(PayloadError, match="not a tensor name"):
        payload.layout_digest(Layout((TensorSpec("__base__", (1,)),)))


@pytest.mark.parametrize("shape", ["1" * 60 + "x", "1" * 5000, "1," * 3000 + "x", ",", "1,"])
def test_a_hostile_header_costs_nothing_and_is_refused(shape: str) -> None:
    """Digits without end took seconds, then for ever, or more than an integer may have."""
    header = f'{{"a":{{"dtype":"I32","shape":[{shape}],"data_offsets":[0,4]}}}}'.encode()
    with pytest.raises(PayloadError, match="not the one that the contract's terms name"):
        layout_in(len(header).to_bytes(8, "little") + header, TERMS)


def test_a_module_in_half_precision_has_the_hash_that_it_has_in_floats() -> None:
    half = with_frozen_backbone().half()
    shared = lambda name, _tensor: name.startswith("3.")  # noqa: E731
    assert layout_of(half, None, shared).base == FlatModule(half, None, shared).layout.base != b""


def test_a_filter_that_leaves_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves out all that is trained"):
        layout(task_of(build=with_frozen_backbone, shared=lambda name, _tensor: name.startswith("1.")))


# What training changes and nobody else sees.


def test_each_party_goes_on_from_its_own_statistics() -> None:
    """Round 2 starts from what round 1 left, and a round that is repeated from where it started."""
    learner = TorchLearner(FEDBN, samples_of(3), samples_of(3), 0)
    model = initial_model(FEDBN, 0)
    first = learner.train(model, 1).vector
    second = learner.train(first, 2).vector
    assert (learner.train(first, 2).vector == second).all()
    fresh = TorchLearner(FEDBN, samples_of(3), samples_of(3), 0)
    assert (fresh.train(first, 2).vector != second).any()  # its statistics are as built


def test_own_tensors_survive_the_process(tmp_path: object) -> None:
    journal = Journal(tmp_path)  # type: ignore[arg-type]
    learner = TorchLearner(FEDBN, samples_of(3), samples_of(3), 0)
    learner.keep(journal)
    model = initial_model(FEDBN, 0)
    first = learner.train(model, 1).vector
    second = learner.train(first, 2).vector
    again = TorchLearner(FEDBN, samples_of(3), samples_of(3), 0)
    again.keep(Journal(tmp_path))  # type: ignore[arg-type]
    assert (again.train(first, 2).vector == second).all()
    assert again.evaluate(second).loss == learner.evaluate(second).loss
    journal.write(RECORD, b"damaged")
    with pytest.raises(RunError, match=r"own\.bin is of another model: remove it"):
        again.keep(journal)


def test_who_has_not_trained_yet_judges_with_statistics_of_its_own_data() -> None:
    """Judged with what was built, BatchNorm would say nothing of the shared weights."""
    far = samples_of(30)
    trained = TorchLearner(FEDBN, far, far, 0)
    model = trained.train(initial_model(FEDBN, 0), 1).vector
    new = TorchLearner(FEDBN, far, far, 1)
    blind = TorchLearner(FEDBN, None, far, 1)
    assert new.evaluate(model).loss < blind.evaluate(model).loss
    assert new.evaluate(model).loss == new.evaluate(model).loss


def own_loop(model: nn.Module, data: Any, _context: FitContext) -> None:
    """Train by a loop that thaws what is frozen, and shrinks what has no gradient."""
    features, labels = data.tensors
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(model(features), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


LOOPS: dict[str, dict[str, object]] = {
    "plain": {"learning_rate": 5.0},
    "optimizer": {"optimizer": lambda weights: torch.optim.AdamW(weights, lr=0.5)},
    "own": {"fit": own_loop},
}


@pytest.mark.parametrize("options", LOOPS.values(), ids=LOOPS.keys())
@pytest.mark.parametrize("own", ["1.", "1.running", "3."])
def test_what_is_trained_to_judge_belongs_to_the_model_that_is_judged(
    options: dict[str, object], own: str
) -> None:
    """Before, it belonged to the weights that this training ended with, which are gone."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 64)
    features = rng.normal(size=(64, 4)).astype(np.float32)
    features[np.arange(64), labels] += 3
    samples = Samples(features, labels)
    task = Task("t", "", lambda _: Dataset(samples, samples), build, 40, 64, 0.1)
    task = replace(task, shared=lambda name, _tensor: not name.startswith(own), **options)  # type: ignore[arg-type]
    learner, model = TorchLearner(task, samples, samples, 0), initial_model(task, 0)
    loss, blind = (each.evaluate(model).loss for each in (learner, TorchLearner(task, None, samples, 0)))
    assert own == "1.running" or loss < blind  # statistics alone make no better model of random weights
    state, built = learner._flat.state(), state_of(task, model)
    assert all((state[tensor.name] == built[tensor.name]).all() for tensor in layout(task).tensors)
    if own != "3.":
        activations = features @ state["0.weight"].T + state["0.bias"]
        assert np.allclose(state["1.running_mean"], activations.mean(axis=0), atol=0.05)
        assert np.allclose(state["1.running_var"], activations.var(axis=0, ddof=1), atol=0.05)
    assert loss == learner.evaluate(model).loss
    assert (learner.train(model, 1).vector != model).any()


def test_where_all_is_shared_nothing_is_kept() -> None:
    own = OwnTensors(np.zeros(0, np.float32))
    journal = Journal(None)
    own.keep(journal)
    own.put(1, np.zeros(0, np.float32))
    assert not own.is_new
    assert journal.read(RECORD) is None


def test_only_two_rounds_are_kept() -> None:
    own = OwnTensors(np.zeros(1, np.float32))
    for number in range(1, 6):
        own.put(number, np.full(1, number, np.float32))
    assert own.latest == 5
    assert [float(own.before(number)[0]) for number in (4, 5, 6)] == [0, 4, 5]


def test_a_filter_sees_names_and_tensors() -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def shared(name: str, tensor: Tensor) -> bool:
        seen[name] = tuple(tensor.shape)
        return tensor.ndim > 1

    assert [tensor.name for tensor in layout(task_of(shared=shared)).tensors] == ["0.weight", "5.weight"]
    assert seen["1.running_mean"] == (8,)

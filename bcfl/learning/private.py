"""Train so that noise hides each sample: DP-SGD, with the gradients of single samples by Opacus.

"Deep Learning with Differential Privacy", Abadi et al. 2016, arXiv:1607.00133, Algorithm 1. Each sample is in
a step by itself with the probability of the terms, as the accountant assumes (Poisson sampling; batches of a
shuffled epoch would need another accountant). The loss is taken sample by sample, so that nobody's gradient
depends on another's. Samples and noise of a step follow from a secret, and from all that they are used on.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from bcfl.errors import ConfigError, own_code
from bcfl.learning.accelerators import isolated, sow
from bcfl.learning.flat import FlatModule
from bcfl.learning.loading import Loaded
from bcfl.learning.loops import open_optimizer
from bcfl.learning.tasks import Task, cross_entropy
from bcfl.protocol.gaussian import Stream, chosen
from bcfl.protocol.noise import SAMPLE, Noise

MOST_ENTRIES: Final = 2**26  # of the gradients of single samples at a time
APART: Final = 1e-3  # of outputs: what rounding in batches of other sizes may come to
PLACE: Final = 2.0**-53  # of a float64 in (0, 1]
MIXING: Final = (nn.modules.batchnorm._BatchNorm,)
ADVICE: Final = "or hide whole updates (level=participant), which any model takes"


def noise_of(task: Task) -> Noise | None:
    """Return the noise that a task's training adds for its federation; None where it adds none."""
    noise = Noise.of(task.agreement)
    return noise if noise is not None and noise.level == SAMPLE else None


def check(task: Task, module: nn.Module) -> None:
    """Raise ConfigError, one line, where noise cannot hide a sample in the training of a task's module."""
    if task.fit is not None:
        raise ConfigError(
            f"task {task.name} trains by its own fit, which adds no noise: leave fit out, {ADVICE}"
        )
    for name, layer in module.named_modules():
        keeps = isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats
        if isinstance(layer, MIXING) or keeps:
            raise ConfigError(
                f"task {task.name}: layer {name or 'of the model'} is a {type(layer).__name__}, which learns "
                f"from all samples of a batch without noise: take GroupNorm or LayerNorm, {ADVICE}"
            )


def check_apart(task: Task, module: nn.Module, features: Tensor, labels: Tensor) -> None:
    """Raise ConfigError where a model mixes samples, (samples, ...), or Opacus mixes their gradients.

    Layers of one's own may mix them in training alone, and reshape them so that rows are no samples any more:
    then no row's bound is that of a sample. Dropout, which mixes none, is left out.
    """
    with isolated(0), own_code(f"task {task.name}: trying samples one by one failed"):
        for turn in (module.eval, module.train, partial(_train_weights, module)):
            turn()
            for layer in module.modules():
                if isinstance(layer, nn.modules.dropout._DropoutNd):
                    layer.eval()
            with torch.no_grad():
                together, again = module(features), module(features)
                alone = torch.cat([module(features[i : i + 1]) for i in range(len(features))])
            is_random = not torch.equal(together, again)
            if is_random and turn != module.eval:
                continue  # nobody can tell
            if not _are_alike(together, alone, 1.0):
                raise ConfigError(
                    f"task {task.name}: what its model says of a sample depends on the others of a batch, "
                    f"which noise on single samples does not hide: change the model, {ADVICE}"
                )
        if not is_random and not _are_alike(*_gradients(task, module, features, labels), 1e-6):
            raise ConfigError(
                f"task {task.name}: the gradient that Opacus finds of a sample is not the sample's own: keep "
                f"samples in the first dimension of every layer, and a weight in one layer, {ADVICE}"
            )


def _train_weights(module: nn.Module) -> None:
    """Have layers with weights train, as Opacus needs it, and not those around them, which may be random."""
    for layer in module.modules():
        layer.training = any(True for _ in layer.parameters(recurse=False))


def _gradients(task: Task, module: nn.Module, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradients of single samples, (samples, trained): as Opacus finds them, and one by one."""
    count = len(labels)
    weights = [each for each in module.parameters() if each.requires_grad]
    with torch.enable_grad():
        with _sampled(module) as sampled:
            _loss(task, sampled(features), labels).backward()  # type: ignore[no-untyped-call]
            together = torch.cat([_of_samples(each, count).reshape(count, -1) for each in weights], dim=1)
        rows = []
        for i in range(count):
            loss = _loss(task, module(features[i : i + 1]), labels[i : i + 1])
            parts = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
    return together, torch.stack(rows)


def _are_alike(one: Tensor, other: Tensor, least: float) -> bool:
    """Whether two tensors are the same but for rounding, of numbers as large as theirs, `least` at least."""
    scale = float(one.abs().max()) if one.numel() else 0.0
    return one.shape == other.shape and torch.allclose(one, other, atol=APART * max(scale, least))


def train(
    task: Task,
    flat: FlatModule,
    samples: Loaded,
    noise: Noise,
    seed: bytes | None,
    max_steps: int | None = None,
) -> None:
    """Train `flat` in place for one round, at most `max_steps` steps, with noise drawn from a secret `seed`.

    Without a seed gradients are shortened and no noise is added: what the noisy training comes to on average,
    for a miner that compares and gives nothing away. Raises ConfigError where Opacus is missing or refuses.
    """
    check(task, flat.module)
    total = noise.steps_of(len(samples))
    step, still = _stepper(task, flat, total), flat.vector[flat.still].clone()
    data = sha256(b"".join(samples.identity())).digest()
    with _sampled(flat.module) as module:
        for number in range(total if max_steps is None else min(total, max_steps)):
            at = sha256(flat.vector.cpu().numpy().tobytes()).digest()
            parts = (seed or b"", noise.text.encode(), data, number.to_bytes(8, "big"), at)
            mask = torch.from_numpy(chosen(Stream(b"samples", *parts), noise.batch, len(samples)))
            if seed is not None:  # known masks of dropout would move with each sample in front of them
                drawn_seed = Stream(b"torch", *parts).below(2**62, 1).item()
                sow(drawn_seed)
                torch.manual_seed(drawn_seed)  # on accelerators too
            _sum_clipped(task, flat, module, *samples.chosen(mask), float(noise.clip))
            if seed is not None:
                summed = sha256(flat.gradient.cpu().numpy().tobytes()).digest()
                drawn = normal(Stream(b"noise", *parts, summed), len(flat.gradient)) * float(noise.deviation)
                flat.gradient.add_(torch.tensor(drawn, dtype=torch.float32).to(flat.device) * ~flat.still)
            flat.gradient.div_(min(noise.batch, len(samples)))
            step()
    flat.collect()
    if not torch.equal(flat.vector[flat.still], still):
        raise ConfigError(
            f"task {task.name}: training changes what has no gradient, a buffer perhaps, without noise: "
            f"leave it out of the model, {ADVICE}"
        )


def normal(stream: Stream, count: int) -> npt.NDArray[np.float64]:
    """Return normal draws, (count,), by Box and Muller's method from numbers of 53 bits."""
    half = -(-count // 2)
    numbers = ((stream.words(2 * half) >> np.uint64(11)) + np.uint64(1)) * PLACE
    length, angle = np.sqrt(-2 * np.log(numbers[:half])), 2 * math.pi * numbers[half:]
    return np.concatenate([length * np.cos(angle), length * np.sin(angle)])[:count]


def _stepper(task: Task, flat: FlatModule, total: int) -> Callable[[], None]:
    """Return what moves the model by the gradient in `flat`."""
    if task.optimizer is None:

        def descend() -> None:
            flat.vector.sub_(flat.gradient, alpha=task.learning_rate)

        return descend
    optimizer, schedule = open_optimizer(task, flat.module, total)

    def step() -> None:
        optimizer.step()
        if schedule is not None:
            schedule.step()

    return step


def _sum_clipped(
    task: Task, flat: FlatModule, module: Any, features: Tensor, labels: Tensor, clip: float
) -> None:
    """Put the sum of the samples' gradients, each no longer than `clip`, into the gradient of `flat`."""
    flat.gradient.zero_()
    total = torch.zeros_like(flat.gradient)
    size = max(1, MOST_ENTRIES // max(1, len(flat.gradient)))
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        module.zero_grad(set_to_none=False)
        with torch.enable_grad():
            _loss(task, module(features[part]), labels[part]).backward()  # type: ignore[no-untyped-call]
        count, weights = len(labels[part]), [each for each in flat.module.parameters() if each.requires_grad]
        gradients = [(each, _of_samples(each, count)) for each in weights]
        squares = torch.stack([rows.reshape(count, -1).square().sum(dim=1) for _, rows in gradients])
        lengths = squares.sum(dim=0).sqrt()
        # A device that failed by one sample would tell that it is there: such a gradient counts as none.
        factors = (clip / lengths.clamp(min=1e-30)).clamp(max=1.0).where(lengths.isfinite(), 0.0)
        for each, rows in gradients:
            assert each.grad is not None
            finite = rows if bool(lengths.isfinite().all()) else rows.nan_to_num(0.0, 0.0, 0.0)
            each.grad.copy_(torch.einsum("s,s...->...", factors, finite))
        total.add_(flat.gradient)
    flat.gradient.copy_(total)


def _of_samples(parameter: nn.Parameter, count: int) -> Tensor:
    """Return the gradient of each of `count` samples, (samples, ...), that Opacus has found."""
    gradient: Tensor | None = getattr(parameter, "grad_sample", None)
    if not isinstance(gradient, Tensor):
        raise ConfigError("Opacus finds no gradient of single samples for a parameter that is trained")
    if len(gradient) != count:
        raise ConfigError(
            f"Opacus finds {len(gradient)} gradients for {count} samples, so none is a sample's: keep "
            f"samples in the first dimension of every layer, {ADVICE}"
        )
    return gradient


def _loss(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the losses of single samples."""
    if task.loss is cross_entropy:
        losses = functional.cross_entropy(outputs, labels, reduction="none")
        return losses.reshape(len(labels), -1).mean(dim=1).sum()
    if len(outputs) != len(labels):
        raise ConfigError(
            f"task {task.name}: its model has no output for each sample, as noise needs it: {ADVICE}"
        )
    return torch.stack([task.loss(outputs[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]).sum()


@contextmanager
def _sampled(module: nn.Module) -> Iterator[Any]:
    """Have Opacus find the gradients of single samples in a module; raises ConfigError where it cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from opacus.grad_sample import GradSampleModule
    except ImportError:
        raise ConfigError("noise in training needs Opacus: pip install 'bcfl[dp]'") from None
    try:
        sampled = GradSampleModule(module, loss_reduction="sum", strict=False)
    except NotImplementedError as error:
        raise ConfigError(f"Opacus cannot train this model: {error}; {ADVICE}") from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Ff]ull backward hook.*")
            yield sampled
    finally:
        sampled.remove_hooks()
        for parameter in module.parameters():
            for name in ("grad_sample", "_forward_counter", "_current_grad_sample"):
                if hasattr(parameter, name):
                    delattr(parameter, name)

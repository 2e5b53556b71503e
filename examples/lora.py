"""Adapt a language model by adapters alone: `python examples/lora.py [SECONDS]`.

A transformer of about ten million parameters learns bytes of English, the texts of Python's `help()`, for
SECONDS (60), and is kept in runs/lora ($LORA_FOLDER). Eight parties then adapt it to the code of eight
packages of the standard library: they share adapters, less than 2 % of the parameters. The base model never
travels; its hash is in the terms.

With LORA_MODEL=FOLDER the base model is a causal language model of Hugging Face's that lies there, with its
tokenizer, and `peft` adapts it; `bcfl export --format peft` then writes what PEFT loads.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

import bcfl
from bcfl.errors import BcflError, ConfigError
from bcfl.learning import Dataset, Samples, Task, resolve

FOLDER = Path(os.environ.get("LORA_FOLDER", "runs/lora"))
MODEL = os.environ.get("LORA_MODEL")  # the folder of a Hugging Face model
PACKAGES = ("asyncio", "email", "unittest", "json", "logging", "xml", "ctypes", "concurrent")
BYTES, LENGTH, WIDTH, LAYERS, HEADS, RANK = 128, 64, 384, 6, 6, 4
WINDOWS = 160  # pieces of LENGTH bytes of each party


class Adapted(nn.Module):
    """A frozen linear layer and a low-rank adapter beside it (Hu et al. 2021, arXiv:2106.09685)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.lora_a = nn.Parameter(torch.randn(RANK, inputs) / inputs**0.5)
        self.lora_b = nn.Parameter(torch.zeros(outputs, RANK))

    def forward(self, values: Tensor) -> Tensor:
        """Return what layer and adapter say together."""
        out: Tensor = self.base(values) + values @ self.lora_a.T @ self.lora_b.T
        return out


class Block(nn.Module):
    """Attention to earlier bytes, and a network for each byte."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.merge = Adapted(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, values: Tensor) -> Tensor:
        """Return values (samples, length, width)."""
        samples, length, _ = values.shape
        parts = self.attend(self.before(values)).view(samples, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        values = values + self.merge(seen.transpose(1, 2).reshape(samples, length, WIDTH))
        out: Tensor = values + self.think(self.between(values))
        return out


class Transformer(nn.Module):
    """A causal language model of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(BYTES, WIDTH)
        self.places = nn.Parameter(torch.randn(LENGTH, WIDTH) / 50)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.after, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, BYTES)

    def forward(self, letters: Tensor) -> Tensor:
        """Return logits (samples, length, bytes)."""
        values = self.letters(letters) + self.places[: letters.shape[1]]
        out: Tensor = self.head(self.after(self.blocks(values)))
        return out


def is_adapter(name: str, _tensor: Tensor) -> bool:
    """Whether the federation learns a tensor."""
    return "lora_" in name


class Logits(nn.Module):
    """A model of Hugging Face's that returns nothing but its logits, (samples, length, tokens)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (samples, length, tokens)."""
        logits: Tensor = self.model(input_ids=tokens).logits
        return logits


def from_disk(folder: str) -> nn.Module:
    """Build the model in `folder`, frozen but for the adapters that PEFT puts beside its linear layers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    options = {"r": RANK, "lora_alpha": RANK, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return Logits(get_peft_model(model.float(), LoraConfig(**options)))


def build() -> nn.Module:
    """Build the base model of LORA_MODEL or FOLDER, frozen but for its adapters."""
    if MODEL is not None:
        return from_disk(MODEL)
    model = Transformer()
    model.load_state_dict(load_file(FOLDER / "base.safetensors"), strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return model


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next byte, nats."""
    return functional.cross_entropy(outputs.flatten(0, 1), labels.flatten())


def tokens_of(text: str) -> np.ndarray:
    """Return a text as bytes, or as what the tokenizer of LORA_MODEL makes of it, (tokens,)."""
    if MODEL is None:
        return np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) % BYTES
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL, local_files_only=True)
    return np.array(tokenizer(text, verbose=False)["input_ids"], np.int64)


def windows(text: str, most: int | None = None) -> np.ndarray:
    """Return pieces of text as tokens, (pieces, LENGTH + 1), at most so many, evenly from all."""
    codes = tokens_of(text)
    pieces = codes[: len(codes) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)
    return pieces if most is None else pieces[np.linspace(0, len(pieces) - 1, most).astype(int)]


def code_of(package: str) -> str:
    """Return the source of a package of the standard library."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return "".join(path.read_text("utf-8") for path in sorted(Path(spec.origin).parent.rglob("*.py")))


def load(_: Path | None) -> Dataset:
    """Load the eight parties' texts; every fourth piece is for the test."""
    pieces = np.concatenate([windows(code_of(package), WINDOWS) for package in PACKAGES])
    groups = np.repeat(np.arange(len(PACKAGES)), WINDOWS)
    whole = Samples(pieces[:, :-1], pieces[:, 1:], groups)
    is_test = np.arange(len(pieces)) % 4 == 0
    return Dataset(whole.take(np.flatnonzero(~is_test)), whole.take(np.flatnonzero(is_test)))


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return what trains the adapters."""
    return torch.optim.Adam(parameters, lr=3e-3)


task = Task(
    "lora", "code of eight packages", load, build, epochs=1, batch_size=16,
    loss=loss, metrics=("perplexity", "accuracy"), optimizer=adam, shared=is_adapter,
)  # fmt: skip


def pretrain(seconds: float) -> None:
    """Train the base model on English for so long, and keep it in FOLDER."""
    from pydoc_data.topics import topics

    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model, pieces = Transformer(), torch.tensor(windows("".join(topics.values())))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start, steps, value = time.monotonic(), 0, torch.zeros(())
    while time.monotonic() - start < seconds or not steps:
        batch = pieces[torch.randint(len(pieces), (16,))]
        optimizer.zero_grad()
        value = loss(model(batch[:, :-1]), batch[:, 1:])
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"base model: {parameters:,} parameters, {steps} steps, perplexity {value.exp():.1f} on English")
    save_file({n: v for n, v in model.state_dict().items() if "lora_" not in n}, FOLDER / "base.safetensors")


def perplexities(run: Path, round_: int) -> list[float | None]:
    """Return the perplexity of the model after a round of a run, for each party's test texts."""
    from bcfl.federation.query import open_run
    from bcfl.learning.training import TorchLearner
    from bcfl.protocol.fixedpoint import decode

    with open_run(run) as query:
        layout, lanes = query.read_model(query.find_model(round_)[1])
        fitted, vector = task.with_exponents(layout.exponents), decode(lanes, query.terms.scale_bits)
    test = load(None).test
    assert test.groups is not None
    own = [test.take(np.flatnonzero(test.groups == group)) for group in range(len(PACKAGES))]
    return [TorchLearner(fitted, None, part, 0).evaluate(vector).metrics["perplexity"] for part in own]


def find_name() -> str:
    """Return the name of this module's task: with its folder if that is here, so that `bcfl` finds it too."""
    file = Path(__file__).resolve()
    if file.is_relative_to(Path.cwd()):
        name = ".".join(file.relative_to(Path.cwd()).with_suffix("").parts)
        with suppress(ConfigError):  # of a folder whose name is no module's
            resolve(f"{name}:task")
            return f"{name}:task"
    resolve(f"{file.stem}:task")  # Python looks beside the script, too
    return f"{file.stem}:task"


def main(seconds: float) -> None:
    """Pre-train the base model where there is none, and adapt it."""
    config = bcfl.Config(task=find_name(), devices=len(PACKAGES), miners=2, rounds=3)
    if MODEL is None and not (FOLDER / "base.safetensors").exists():
        pretrain(seconds)
    shared = sum(tensor.numel() for name, tensor in build().state_dict().items() if "lora_" in name)
    total = sum(tensor.numel() for tensor in build().state_dict().values())
    print(f"shared: {shared:,} of {total:,} parameters, {shared / total:.2%}")
    report = bcfl.run(config.model_copy(update={"partition": "pathological", "classes_per_device": 1}))
    pairs = zip(perplexities(Path(report.run_dir), 0), perplexities(Path(report.run_dir), 3), strict=True)
    for package, (before, after) in zip(PACKAGES, pairs, strict=True):
        print(f"{package:12} perplexity {before:6.2f} before, {after:6.2f} after")


if __name__ == "__main__":
    try:
        main(float(sys.argv[1]) if sys.argv[1:] else 60)
    except BcflError as error:
        sys.exit(f"error: {error}")

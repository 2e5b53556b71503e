"""Compile a mutant as contracts/compile.py does, but only the deployables whose code it can change."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.mutants.rules import Mutant

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "contracts"

Output = dict[str, Any]  # of the compiler


class InvalidMutantError(Exception):
    """The mutant does not compile, or is too large."""


@dataclass(frozen=True)
class Baseline:
    """What the sources as they stand compile to, and which functions each deployable contains."""

    outputs: dict[str, Output]
    functions: dict[str, list[str]]  # as `path:name`

    @property
    def bytecode(self) -> dict[str, str]:
        """What the artifact has to hold."""
        return {name: output["bytecode"] for name, output in self.outputs.items()}

    def affected(self, mutant: Mutant) -> list[str]:
        """Return the deployables whose code a mutant can change: all, where it is no function's."""
        name = f"{mutant.path}:{mutant.function}"
        return [key for key, names in self.functions.items() if not mutant.function or name in names]


def source_texts() -> dict[str, str]:
    """Return the sources that are mutated: deployables and their modules, by path below contracts/."""
    paths = [*CONTRACTS.glob("*.vy"), *CONTRACTS.glob("modules/*.vy")]
    return {path.relative_to(CONTRACTS).as_posix(): path.read_text() for path in sorted(paths)}


def digest_of(paths: Iterator[Path]) -> str:
    """Return a short digest of files: their paths and what is in them."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def baseline(folder: Path, digest: str) -> Baseline:
    """Return the baseline of the sources with this digest: the one kept in `folder`, or compiled now."""
    file = folder / f"baseline-{digest}.json"
    if not file.exists():
        compiler = _compiler(CONTRACTS)
        outputs = {name: compiler.compile_one(name) for name in compiler.DEPLOYABLES}
        functions = {name: sorted(_functions(f"{name}.vy")) for name in outputs}
        file.write_text(json.dumps({"outputs": outputs, "functions": functions}))
    return Baseline(**json.loads(file.read_text()))


def build(mutant: Mutant, contracts: Path, before: Baseline) -> dict[str, Any] | None:
    """Return the artifact of a mutant whose sources are in `contracts`; None if it has the same code.

    Raises InvalidMutantError.
    """
    compiler = _compiler(contracts)
    outputs = dict(before.outputs)
    try:
        with redirect_stderr(io.StringIO()):  # the compiler prints there what it raises
            for name in before.affected(mutant):
                outputs[name] = json.loads(json.dumps(compiler.compile_one(name)))
            artifact: dict[str, Any] = compiler.assemble([outputs[name] for name in compiler.DEPLOYABLES])
    except (Exception, SystemExit) as error:  # whatever the compiler raises, it is no contract
        raise InvalidMutantError(" ".join(f"{type(error).__name__}: {error}".split())[:300]) from error
    is_same = all(_code(outputs[name]) == _code(output) for name, output in before.outputs.items())
    return None if is_same else artifact


def _compiler(contracts: Path) -> ModuleType:
    """Load contracts/compile.py, to compile the sources in another folder."""
    spec = importlib.util.spec_from_file_location("contracts_compile", CONTRACTS / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    setattr(module, "CONTRACTS", contracts)  # noqa: B010
    return module


def _code(output: Output) -> tuple[str, str]:
    """Return the code before and after the constructor, without the digest of the sources at the end."""
    creation = bytes.fromhex(output["bytecode"].removeprefix("0x"))
    metadata_bytes = int.from_bytes(creation[-2:], "big")  # CBOR, with its length behind it
    return creation[:-metadata_bytes].hex(), output["bytecode_runtime"]


def _functions(path: str) -> Iterator[str]:
    """Yield the functions that a deployable contains."""
    from testkit import mocks
    from tests.mutants.blocks import function_of

    module = mocks.compiled(path).annotated_vyper_module._metadata["type"]
    outer = [*module.exposed_functions, *([module.init_function] if module.init_function else [])]
    for function in {*outer, *(inner for entry in outer for inner in entry.reachable_internal_functions)}:
        name = function_of(function.decl_node)
        if name is not None:  # no getter of a public variable
            yield name

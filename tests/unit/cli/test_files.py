"""What queries read of strangers and write for people."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from bcfl.cli.output.files import write_file
from bcfl.errors import ConfigError, PayloadError
from bcfl.federation.layouts import layout_in
from bcfl.federation.views.call import parse_argument
from bcfl.federation.views.model import to_safetensors
from bcfl.protocol.payload import encode, layout_digest
from bcfl.protocol.types import Layout, TensorSpec, Terms
from bcfl.roles.common.archive import Archive
from testkit.chainless import MemoryStore
from testkit.terms import TERMS
from tests.unit.cli.conftest import Bcfl

LAYOUT = Layout(
    (TensorSpec("hidden.weight", (3, 4)), TensorSpec("hidden.bias", (3,)), TensorSpec("scale", ()))
)
PAYLOAD = encode(LAYOUT, np.arange(16, dtype=np.int32))


def terms_of(layout: Layout, parameters: int | None = None) -> Terms:
    count = layout.parameters if parameters is None else parameters
    return replace(TERMS, layout=layout_digest(layout), parameters=count)


def test_the_layout_of_a_payload() -> None:
    assert layout_in(PAYLOAD, terms_of(LAYOUT)) == LAYOUT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(8),
        b"\xff" * 64,
        PAYLOAD[:40],
        PAYLOAD.replace(b"hidden.bias", b"hidden.byas"),
        PAYLOAD.replace(b"[3,4]", b"[4,3]"),
        (2**62).to_bytes(8, "little") + b"[" * 2**20,
        b"\x00\x00\x10\x00\x00\x00\x00\x00" + b'{"a":' * 2**18,
    ],
    ids=["nothing", "no header", "no length", "cut", "renamed", "reshaped", "brackets", "nested"],
)
def test_a_payload_of_another_layout(data: bytes) -> None:
    with pytest.raises(PayloadError, match="layout"):
        layout_in(data, terms_of(LAYOUT))


@pytest.mark.parametrize("parameters", [1, 15, 17, 24, 2**20])
def test_terms_that_count_other_parameters_are_no_federation_to_join(parameters: int) -> None:
    """The contract would take the last entries for zeros, and an honest model could be refuted."""
    with pytest.raises(ConfigError, match="an honest model could be refuted, do not join it"):
        layout_in(PAYLOAD, terms_of(LAYOUT, parameters))
    with pytest.raises(ConfigError, match="do not join it"):
        Archive(MemoryStore(), LAYOUT, terms_of(LAYOUT, parameters))


def test_a_header_of_endless_shapes_costs_nothing() -> None:
    name, extents = "x" * 200, ",".join(["9" * 18] * 5000)
    header = f'{{"{name}":{{"dtype":"I32","shape":[{extents}],"data_offsets":[0,8]}}}}'.encode()
    with pytest.raises(PayloadError):
        layout_in(len(header).to_bytes(8, "little") + header, terms_of(LAYOUT))


def test_the_exponents_of_a_payload() -> None:
    first, *others = LAYOUT.tensors
    layout = Layout((replace(first, exponent=-7), *others[:-1], replace(others[-1], exponent=18)))
    data = encode(layout, np.arange(16, dtype=np.int32))
    assert layout_in(data, terms_of(layout)) == layout
    for wrong in (b'"-8"', b'"99"', b'"-7', b'"1e"'):
        with pytest.raises(PayloadError):
            layout_in(data.replace(b'"-7"', wrong), terms_of(layout))


def test_the_exponents_of_the_entries_of_a_tensor() -> None:
    first, *others = LAYOUT.tensors
    exponents = tuple(range(-6, 6))
    layout = Layout((replace(first, exponent=exponents), *others))
    data = encode(layout, np.arange(16, dtype=np.int32))
    assert layout_in(data, terms_of(layout)) == layout
    tensors = load(to_safetensors(layout, np.arange(16, dtype=np.int32), 0, {}))
    assert np.array_equal(tensors[first.name].ravel(), np.arange(12) * np.exp2(exponents))
    for wrong in (b'"-6,-5,', b'"-6,,-5,', b'"-6,-5;'):
        with pytest.raises(PayloadError):
            layout_in(data.replace(b'"-6,-5,-4,', wrong), terms_of(layout))


def test_an_export_has_the_values_and_not_the_vector() -> None:
    specs = [replace(tensor, exponent=e) for tensor, e in zip(LAYOUT.tensors, (3, 0, -2), strict=True)]
    tensors = load(to_safetensors(Layout(tuple(specs)), np.arange(16, dtype=np.int32), 2, {}))
    values = np.arange(16) / 4
    assert np.array_equal(tensors["hidden.weight"].ravel(), values[:12] * 8)
    assert np.array_equal(tensors["hidden.bias"], values[12:15])
    assert np.array_equal(tensors["scale"].ravel(), values[15:] / 4)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_file(target, b"old")
    target.chmod(0o640)
    write_file(target, b"new")
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name another file with -o"):
        write_file(tmp_path / "no" / "folder", b"")


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in (("link", "a link"), ("pipe", "a device or a pipe"), ("folder", "a folder")):
        with pytest.raises(ConfigError, match=f"is {kind}: name a file with -o"):
            write_file(tmp_path / name, b"lost")
    assert (tmp_path / "target").read_bytes() == b"kept"
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.usefixtures("two_rounds")
def test_a_bundle_replaces_no_device(bcfl: Bcfl) -> None:
    os.mkfifo("pipe")
    answer = bcfl("bundle", "-o", "pipe")
    assert (answer.code, answer.err) == (2, "error: pipe is a device or a pipe: name a file with -o\n")
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("uint256", "7", 7),
        ("uint256", "0xff", 255),
        ("uint256", str(2**256 - 1), 2**256 - 1),
        ("uint8", "255", 255),
        ("bytes32", "0x" + "0a" * 32, b"\x0a" * 32),
        ("address", "0x" + "ab" * 20, "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"),
    ],
)
def test_an_argument_by_its_type(kind: str, text: str, value: object) -> None:
    assert parse_argument(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("uint256", "-1"),
        ("uint256", str(2**256)),
        ("uint8", "256"),
        ("uint256", "1.5"),
        ("uint256", ""),
        ("bytes32", "0x00"),
        ("bytes32", "zz" * 32),
        ("address", "ab" * 20),
        ("address", "0x" + "zz" * 20),
        ("tuple", "1"),
    ],
)
def test_an_argument_that_does_not_fit(kind: str, text: str) -> None:
    with pytest.raises(ConfigError):
        parse_argument(kind, text)

"""One canonical file for each vector, and a refusal for every other byte string."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import PayloadError
from bcfl.protocol import payload
from bcfl.protocol.types import Layout, TensorSpec

# In the order of the layers, which is not the order of the names.
LAYOUT = Layout((TensorSpec("w.weight", (2, 3)), TensorSpec("a.bias", (2,)), TensorSpec("scale", ())))
HEADER = (
    '{"w.weight":{"dtype":"I16","shape":[2,3],"data_offsets":[0,12]},'
    '"a.bias":{"dtype":"I16","shape":[2],"data_offsets":[12,16]},'
    '"scale":{"dtype":"I16","shape":[],"data_offsets":[16,18]}}'
)
DTYPES = {8: np.int8, 16: np.int16, 32: np.int32}


def lanes_of(lane_bits: int, layout: Layout = LAYOUT) -> np.ndarray:
    return np.arange(-4, layout.parameters - 4, dtype=DTYPES[lane_bits])


def with_header(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def test_golden_bytes() -> None:
    text = HEADER.encode() + b" " * (-len(HEADER) % 8)
    data = bytes.fromhex("fcff fdff feff ffff 0000 0100 0200 0300 0400")
    assert payload.encode(LAYOUT, lanes_of(16)) == with_header(text, data)


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_the_library_reads_it_and_so_do_we(lane_bits: int) -> None:
    lanes = lanes_of(lane_bits)
    data = payload.encode(LAYOUT, lanes)
    tensors = safetensors.numpy.load(data)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        tensor.name: tensor.shape for tensor in LAYOUT.tensors
    }
    flat = np.concatenate([tensors[tensor.name].ravel() for tensor in LAYOUT.tensors])
    assert flat.dtype == lanes.dtype
    assert np.array_equal(flat, lanes)
    assert np.array_equal(payload.decode(data, LAYOUT, lane_bits), lanes)
    assert len(data) == payload.size(LAYOUT, lane_bits)


@given(st.binary(min_size=9, max_size=9))
def test_every_vector_comes_back(raw: bytes) -> None:
    lanes = np.frombuffer(raw, np.int8)
    data = payload.encode(LAYOUT, lanes)
    assert np.array_equal(payload.decode(data, LAYOUT, 8), lanes)
    assert payload.encode(LAYOUT, lanes.copy()) == data


def test_byte_order_of_the_array_does_not_matter() -> None:
    lanes = lanes_of(32)
    assert payload.encode(LAYOUT, lanes.astype(">i4")) == payload.encode(LAYOUT, lanes)


def test_decoding_is_a_view_that_cannot_be_written() -> None:
    data = bytearray(payload.encode(LAYOUT, lanes_of(32)))
    lanes = payload.decode(data, LAYOUT, 32)
    assert np.shares_memory(lanes, np.frombuffer(data, np.uint8))
    assert not lanes.flags.writeable


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_any_changed_bit_of_the_header_is_refused(lane_bits: int) -> None:
    data = payload.encode(LAYOUT, lanes_of(lane_bits))
    header_bytes = len(data) - LAYOUT.parameters * lane_bits // 8
    for position in range(header_bytes):
        for bit in range(8):
            hostile = bytearray(data)
            hostile[position] ^= 1 << bit
            with pytest.raises(PayloadError, match="canonical"):
                payload.decode(bytes(hostile), LAYOUT, lane_bits)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def hostile_pickle() -> bytes:
    return pickle.dumps(Bomb())


def hostile_torch_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", hostile_pickle())
    return buffer.getvalue()


def alter(old: str, new: str) -> bytes:
    """A well-formed file of the right length in which the header says something else."""
    good = payload.encode(LAYOUT, lanes_of(16))
    text = HEADER.replace(old, new, 1).encode()
    assert text != HEADER.encode()
    room = len(good) - 8 - 18
    return with_header(text.ljust(room)[:room] if len(text) <= room else text, good[-18:])


HOSTILE = {
    "nothing": b"",
    "pickle": hostile_pickle(),
    "torch file": hostile_torch_file(),
    "header of 100 MB": (100 << 20).to_bytes(8, "little") + b"{}",
    "header of 2**64": b"\xff" * 8 + b"{" * 300,
    "not JSON": with_header(b"{" * 200, bytes(18)),
    "deep JSON": with_header(b"[" * 100_000, bytes(18)),
    "other dtype": alter('"I16"', '"F16"'),
    "unsigned": alter('"I16"', '"U16"'),
    "other shape": alter("[2,3]", "[3,2]"),
    "other name": alter("a.bias", "b.bias"),
    "path in a name": alter("w.weight", "/etc/pwd"),
    "duplicate name": alter("a.bias", "w.weight"),
    "overlap": alter("[12,16]", "[0,4]"),
    "space in the header": alter(',"a.bias"', ', "a.bias"'),
    "metadata": alter("{", '{"__metadata__":{"format":"pt"},'),
    "order of the library": safetensors.numpy.save(
        {
            "w.weight": np.zeros((2, 3), np.int16),
            "a.bias": np.zeros(2, np.int16),
            "scale": np.zeros((), np.int16),
        }
    ),
    "cut": payload.encode(LAYOUT, lanes_of(16))[:-1],
    "longer": payload.encode(LAYOUT, lanes_of(16)) + b"\0",
    "other width": payload.encode(LAYOUT, lanes_of(8)),
    "other layout": payload.encode(Layout((TensorSpec("w", (9,)),)), lanes_of(16)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_and_nothing_is_executed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PayloadError):
        payload.decode(HOSTILE[name], LAYOUT, 16)
    payload_ = HOSTILE[name].ljust(payload.size(LAYOUT, 16), b"\0")[: payload.size(LAYOUT, 16)]
    if name not in ("cut", "longer"):
        with pytest.raises(PayloadError):
            payload.decode(payload_, LAYOUT, 16)
    assert list(tmp_path.iterdir()) == []


def test_the_hostile_pickle_would_have_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["pickle"])
    assert (tmp_path / "executed").is_dir()


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadError):
        payload.decode(data, LAYOUT, 16)


def test_memory_is_bounded() -> None:
    layout = Layout((TensorSpec("w", (1000, 1000)),))
    good = payload.encode(layout, np.zeros(1_000_000, np.int32))
    huge = (len(good) - 8).to_bytes(8, "little") + bytes(len(good) - 8)  # the header claims the whole file
    hostiles = (huge, good[:-1], HOSTILE["header of 100 MB"])
    tracemalloc.start()
    payload.decode(good, layout, 32)
    for hostile in hostiles:
        with pytest.raises(PayloadError):
            payload.decode(hostile, layout, 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


@pytest.mark.parametrize(
    "lanes",
    [
        np.zeros(8, np.int16),
        np.zeros((9, 1), np.int16),
        np.zeros(9, np.uint16),
        np.zeros(9, np.float32),
        np.zeros(9, np.int64),
    ],
    ids=lambda lanes: f"{lanes.dtype}{lanes.shape}",
)
def test_what_no_file_can_hold_is_refused(lanes: np.ndarray) -> None:
    with pytest.raises(PayloadError):
        payload.encode(LAYOUT, lanes)


@pytest.mark.parametrize("name", ["", "__metadata__", "../../etc/passwd", 'a"', "é", "a\n", "x" * 257])
def test_a_layout_with_such_a_name_is_refused(name: str) -> None:
    layout = Layout((TensorSpec(name, (9,)),))
    with pytest.raises(PayloadError, match="not a tensor name"):
        payload.encode(layout, lanes_of(16))
    with pytest.raises(PayloadError, match="not a tensor name"):
        payload.layout_digest(layout)


def test_a_layout_that_repeats_a_name_or_has_a_negative_extent_is_refused() -> None:
    with pytest.raises(PayloadError, match="twice"):
        payload.layout_digest(Layout((TensorSpec("w", (1,)), TensorSpec("w", (2,)))))
    with pytest.raises(PayloadError, match="negative"):
        payload.layout_digest(Layout((TensorSpec("w", (-1, -9)),)))


def test_layout_digest_is_the_documented_description() -> None:
    assert payload.layout_digest(LAYOUT) == keccak(b'[["w.weight",[2,3]],["a.bias",[2]],["scale",[]]]')


def scaled(**exponents: int) -> Layout:
    specs = (replace(tensor, exponent=exponents.get(tensor.name[0], 0)) for tensor in LAYOUT.tensors)
    return Layout(tuple(specs))


def test_exponents_are_part_of_the_digest_where_there_are_any() -> None:
    description = b'[["w.weight",[2,3]],["a.bias",[2],-3],["scale",[],18]]'
    assert payload.layout_digest(scaled(a=-3, s=18)) == keccak(description)
    assert payload.layout_digest(scaled()) == payload.layout_digest(LAYOUT)


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_a_file_names_the_exponents_and_others_are_refused(lane_bits: int) -> None:
    layout, lanes = scaled(a=-3, s=18), lanes_of(lane_bits)
    data = payload.encode(layout, lanes)
    assert np.array_equal(payload.decode(data, layout, lane_bits), lanes)
    tensors = safetensors.numpy.load(data)
    assert set(tensors) == {"w.weight", "a.bias", "scale"}
    assert b'{"__metadata__":{"a.bias":"-3","scale":"18"},"w.weight"' in data
    assert len(data) == payload.size(layout, lane_bits)
    for other in (LAYOUT, scaled(a=-3), scaled(a=-3, s=17)):
        with pytest.raises(PayloadError):
            payload.decode(data, other, lane_bits)


def test_each_entry_may_have_an_exponent() -> None:
    layout = Layout(tuple(replace(t, exponent=(4, -13)) if t.name == "a.bias" else t for t in LAYOUT.tensors))
    assert payload.layout_digest(layout) == keccak(
        b'[["w.weight",[2,3]],["a.bias",[2],[4,-13]],["scale",[]]]'
    )
    data = payload.encode(layout, lanes_of(16))
    assert data[8:].startswith(b'{"__metadata__":{"a.bias":"4,-13"},"w.weight"')
    assert set(safetensors.numpy.load(data)) == {"w.weight", "a.bias", "scale"}
    for exponents, message in (
        ((4,), r"shape \(2,\) has 1 exponents"),
        ((4, 4, 4), "has 3 exponents"),
        ((4, 61), "from -60 to 60, not 61"),
    ):
        with pytest.raises(PayloadError, match=message):
            payload.layout_digest(Layout((TensorSpec("a", (2,), exponents),)))
    with pytest.raises(PayloadError, match="has 1 exponents"):  # it would be read as one for the tensor
        payload.layout_digest(Layout((TensorSpec("a", (1,), (4,)),)))


@pytest.mark.parametrize("exponent", [61, -61])
def test_an_exponent_out_of_range_is_refused(exponent: int) -> None:
    with pytest.raises(PayloadError, match=r"exponent of tensor a\.bias must be from -60 to 60"):
        payload.layout_digest(scaled(a=exponent))


def test_layouts_that_differ_have_different_digests() -> None:
    w, b = TensorSpec("w", (2, 3)), TensorSpec("b", (6,))
    layouts = [(w,), (b,), (w, b), (b, w), (TensorSpec("w", (3, 2)),), (TensorSpec("w", (6,)),), ()]
    digests = {payload.layout_digest(Layout(tensors)) for tensors in layouts}
    assert len(digests) == len(layouts)

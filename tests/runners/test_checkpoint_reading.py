"""Any rectangle and any range come out as they went in, however the tensor was cut; judged by indexing the tensor."""

from __future__ import annotations

import itertools
import json
import mmap
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from runners import checkpoint
from runners.checkpoint import Checkpoint, Keep, Piece
from runners.checkpoint.geometry import Box, boxes
from runners.checkpoint.index import Index
from runners.errors import RunError

SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)
TYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8)


def cut(draw: Any, box: Box) -> list[Box]:
    """A rectangle in two, and those in two, at random places."""
    axes = [axis for axis, size in enumerate(box.size) if size > 1]
    if not axes or draw(st.booleans()):
        return [box]
    axis = draw(st.sampled_from(axes))
    at = draw(st.integers(1, box.size[axis] - 1))

    def part(start: int, size: int) -> Box:
        offset, sizes = list(box.offset), list(box.size)
        offset[axis], sizes[axis] = box.offset[axis] + start, size
        return Box(tuple(offset), tuple(sizes))

    return cut(draw, part(0, at)) + cut(draw, part(at, box.size[axis] - at))


@st.composite
def cuts(draw: Any) -> tuple[Tensor, list[Piece]]:
    """A tensor whose rows lie partly in rectangles, partly in ranges."""
    shape = draw(SHAPES)
    whole = torch.arange(prod(shape)).to(draw(st.sampled_from(TYPES))).reshape(shape)
    split = draw(st.integers(0, shape[0])) if shape else draw(st.integers(0, 1))
    end = prod(shape) if not shape else split * prod(shape[1:])
    end = end if shape else split
    ends = sorted({0, end, *draw(st.lists(st.integers(0, end), max_size=3))})
    flat = whole.reshape(-1)
    pieces = [Piece("model/a", shape, a, flat[a:b]) for a, b in itertools.pairwise(ends)]
    if not shape:
        return whole, pieces or [Piece("model/a", (), (), whole)]
    if split < shape[0]:
        rest = Box((split, *(0 for _ in shape[1:])), (shape[0] - split, *shape[1:]))
        outer = Box((0,) * len(shape), shape)
        pieces += [Piece("model/a", shape, box.offset, whole[box.within(outer)]) for box in cut(draw, rest)]
    return whole, draw(st.permutations(pieces))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuts")


@given(cuts(), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rectangles_and_ranges_assemble_from_any_pieces(
    folder: Path, made: tuple[Tensor, list[Piece]], data: st.DataObject
) -> None:
    whole, pieces = made
    found = checkpoint.save(folder, 1, 0, 0.0, pieces, {}, Keep(1))
    assert torch.equal(found.tensor("model/a"), whole)
    assert found.tensor("model/a").dtype == whole.dtype
    start = data.draw(st.integers(0, whole.numel()))
    stop = data.draw(st.integers(start, whole.numel()))
    assert torch.equal(found.read_flat("model/a", start, stop), whole.reshape(-1)[start:stop])
    offset = tuple(data.draw(st.integers(0, size)) for size in whole.shape)
    size = tuple(data.draw(st.integers(0, length - at)) for at, length in zip(offset, whole.shape, strict=True))
    expected = whole[tuple(slice(at, at + length) for at, length in zip(offset, size, strict=True))]
    assert torch.equal(found.read("model/a", offset, size), expected)


@given(SHAPES.filter(len), st.data())
@settings(max_examples=200, deadline=None)
def test_a_range_is_few_rectangles_in_its_order(shape: tuple[int, ...], data: st.DataObject) -> None:
    whole = torch.arange(prod(shape)).reshape(shape)
    start = data.draw(st.integers(0, prod(shape)))
    stop = data.draw(st.integers(start, prod(shape)))
    found = list(boxes(start, stop, shape))
    outer = Box((0,) * len(shape), shape)
    values = [whole[box.within(outer)].reshape(-1) for box in found]
    assert torch.equal(torch.cat(values) if values else torch.empty(0, dtype=torch.int64), torch.arange(start, stop))
    assert len(found) <= 2 * len(shape) - 1


def without(found: Checkpoint, lost: int) -> Checkpoint:
    """The same checkpoint, one piece of `model/a` unknown to its index."""
    tensor = found.index.tensors["model/a"]
    pieces = tuple(piece for number, piece in enumerate(tensor.pieces) if number != lost)
    return replace(found, index=replace(found.index, tensors={"model/a": replace(tensor, pieces=pieces)}))


def test_an_element_that_nobody_wrote_is_named(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    pieces = [Piece("model/a", (3, 4), 4 * row, whole[row]) for row in range(3)]
    found = without(checkpoint.save(tmp_path, 1, 0, 0.0, pieces, {}, Keep()), lost=1)
    with pytest.raises(RunError, match=r"element \[1, 0\] of `model/a` is in no file"):
        found.tensor("model/a")
    with pytest.raises(RunError, match=r"element \[1, 2\] of `model/a` is in no file"):
        found.read("model/a", (0, 2), (3, 1))
    with pytest.raises(RunError, match=r"element \[1, 1\] of `model/a` is in no file"):
        found.read_flat("model/a", 5, 9)
    assert found.read_flat("model/a", 8, 12).tolist() == [8.0, 9.0, 10.0, 11.0]


def test_what_is_not_asked_for_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.arange(12.0).view(3, 4)
    pieces = [Piece("model/a", (3, 4), (0, 0), whole[:1]), Piece("optimizer/a", (3, 4), (0, 0), whole)]
    pieces += [Piece("model/a", (3, 4), (1, 0), whole[1:])]
    found = checkpoint.save(tmp_path, 1, 0, 0.0, pieces, {}, Keep())
    (found.path / "optimizer.safetensors").unlink()
    assert torch.equal(found.tensor("model/a"), whole)
    mapped: list[int] = []
    map_file = mmap.mmap

    def spy(descriptor: int, *more: Any, **named: Any) -> mmap.mmap:
        mapped.append(descriptor)
        return map_file(descriptor, *more, **named)

    monkeypatch.setattr(mmap, "mmap", spy)
    assert found.read("model/a", (2, 1), (1, 2)).tolist() == [[9.0, 10.0]]
    assert len(mapped) == 1


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda found: found.tensor("model/b"), "holds no tensor `model/b`"),
        (lambda found: found.read("model/a", (0, 1), (3, 4)), "is outside"),
        (lambda found: found.read_flat("model/a", 3, 13), "has 12 elements; 3:13 is outside"),
    ],
)
def test_what_is_not_there_is_a_plain_error(tmp_path: Path, read: Any, message: str) -> None:
    pieces = [checkpoint.whole_piece("model/a", torch.arange(12.0).view(3, 4))]
    found = checkpoint.save(tmp_path, 1, 0, 0.0, pieces, {}, Keep())
    with pytest.raises(RunError, match=message):
        read(found)


@given(
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.none()),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_an_index_reads_back_what_it_wrote(scalars: dict[str, Any], seconds: float) -> None:
    index = Index(7, 8, seconds, scalars, {}, {})
    assert Index.from_bytes(index.to_bytes()) == index
    assert json.loads(index.to_bytes())["scalars"] == scalars


def test_weights_in_several_files_are_read_as_those_of_one(tmp_path: Path) -> None:
    """What an export reads, tensor by tensor; and what an evaluation gives its model."""
    whole = {"a": torch.arange(12.0).view(3, 4), "b": torch.arange(5).bfloat16()}
    flat = [Piece("model/a", (3, 4), at, whole["a"].view(-1)[at : at + 6]) for at in (0, 6)]
    pieces = [*flat, checkpoint.whole_piece("model/b", whole["b"]), checkpoint.whole_piece("optimizer/a/m", whole["a"])]
    stored = checkpoint.save(tmp_path, 1, 0, 0.0, pieces, {}, Keep()).stored()
    assert {name: (entry.shape, entry.dtype) for name, entry in stored.entries.items()} == {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in whole.items()
    }
    assert all(torch.equal(stored.read(name), tensor) for name, tensor in whole.items())
    model = torch.nn.ParameterDict(
        {name: torch.zeros_like(tensor, dtype=torch.float32) for name, tensor in whole.items()}
    )
    checkpoint.required(tmp_path).load_into(model)
    assert torch.equal(model["a"], whole["a"])
    assert torch.equal(model["b"], whole["b"].float())
    with pytest.raises(RunError, match="is of another model than this plan"):
        checkpoint.required(tmp_path).load_into(torch.nn.Linear(2, 2))

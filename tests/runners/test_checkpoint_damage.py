"""No checkpoint with a single bit that is not as it was written is ever used."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runners import checkpoint
from runners.checkpoint import Piece
from runners.checkpoint.index import Index, Unreadable
from runners.checkpoint.writing import _tensors, _write, file_names  # what each rank does, here one after the other

FILES = (
    "checkpoint.json",
    "optimizer-00001-of-00002.safetensors",
    "optimizer-00002-of-00002.safetensors",
    "weights-00001-of-00002.safetensors",
    "weights-00002-of-00002.safetensors",
)


def of_two_ranks(run: Path, step: int) -> Path:
    """A checkpoint as two ranks write it, each the half of two tensors."""
    names = file_names([["model", "optimizer"]] * 2)
    whole = torch.arange(8.0).view(4, 2) * step
    folder = checkpoint.folder_of(run, step)
    folder.mkdir(parents=True)
    parts = []
    for rank in range(2):
        half = whole[2 * rank : 2 * rank + 2]
        weights = Piece("model/a", (4, 2), (2 * rank, 0), half)
        states = Piece("optimizer/a/m", (4, 2), 4 * rank, half)
        parts.append(_write(folder, step, {"model": [weights], "optimizer": [states]}, names[rank]))
    files = {name: checkpoint.StoredFile(**file) for part in parts for name, file in part["files"].items()}
    tensors = _tensors([piece for part in parts for piece in part["pieces"]])
    index = Index(step, 0, 0.0, {"loss_scale": {"scale": 1.5}}, files, tensors)
    (folder / "checkpoint.json").write_bytes(index.to_bytes())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    home = tmp_path_factory.mktemp("run")
    of_two_ranks(home, 10)
    last = of_two_ranks(home, 20)
    assert tuple(sorted(file.name for file in last.iterdir())) == FILES
    found, damaged = checkpoint.latest(home)
    assert found is not None
    assert (found.step, damaged) == (20, ())
    assert found.tensor("optimizer/a/m").tolist() == (torch.arange(8.0).view(4, 2) * 20).tolist()
    return SimpleNamespace(home=home, last=last, intact={name: (last / name).read_bytes() for name in FILES})


def falls_back(home: Path) -> str:
    """Why the newest checkpoint is not used; the one before it is."""
    found, damaged = checkpoint.latest(home)
    assert found is not None
    assert found.step == 10
    (one,) = damaged
    return one.reason


@given(st.sampled_from(FILES), st.data(), st.integers(1, 255))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_single_byte_of_any_file(run: SimpleNamespace, file: str, data: st.DataObject, flip: int) -> None:
    content = bytearray(run.intact[file])
    content[data.draw(st.integers(0, len(content) - 1))] ^= flip
    try:
        (run.last / file).write_bytes(content)
        assert falls_back(run.home) == f"{file} is not as it was written"
    finally:
        (run.last / file).write_bytes(run.intact[file])


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_cut_off_anywhere(run: SimpleNamespace, file: str, data: st.DataObject) -> None:
    content = run.intact[file]
    try:
        (run.last / file).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        assert file in falls_back(run.home)
    finally:
        (run.last / file).write_bytes(content)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_gone(run: SimpleNamespace, file: str) -> None:
    try:
        (run.last / file).unlink()
        assert falls_back(run.home) == f"{file} is missing"
    finally:
        (run.last / file).write_bytes(run.intact[file])


def test_a_file_more(run: SimpleNamespace) -> None:
    stray = run.last / "weights-00003-of-00003.safetensors"
    try:
        shutil.copy(run.last / FILES[-1], stray)
        assert falls_back(run.home) == "weights-00003-of-00003.safetensors is none of its files"
    finally:
        stray.unlink()


def test_the_files_of_another_step(run: SimpleNamespace) -> None:
    moved = run.last.with_name("step-00000030")
    try:
        run.last.rename(moved)
        assert falls_back(run.home) == "it is of step 20"
    finally:
        moved.rename(run.last)


def test_every_single_bit_of_an_index() -> None:
    whole = Index(10, 20, 1.5, {"a": 1}, {"f": checkpoint.StoredFile(3, "0" * 64)}, {}).to_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            content = bytearray(whole)
            content[at] ^= 1 << bit
            with pytest.raises(Unreadable):
                Index.from_bytes(bytes(content))

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from runners import checkpoint
from runners.checkpoint import Keep, Piece, whole_piece
from runners.errors import RunError


def write(run: Path, step: int, keep: Keep = Keep(2)) -> checkpoint.Checkpoint:  # noqa: B008 - it is frozen
    pieces = [
        whole_piece("model/a", torch.full((4,), float(step))),
        whole_piece("optimizer/a/exp_avg", torch.full((4,), step / 7)),
    ]
    return checkpoint.save(run, step, step * 10, 1.5, pieces, {"scale": 0.1}, keep)


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_the_last_checkpoint_is_read_back_and_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write(tmp_path, step)
    found = checkpoint.required(tmp_path)
    assert (found.step, found.tokens, found.seconds, found.scalars) == (30, 300, 1.5, {"scale": 0.1})
    assert found.weights()["a"].tolist() == [30.0] * 4
    assert torch.equal(found.tensor("optimizer/a/exp_avg"), torch.full((4,), 30 / 7))
    assert steps(tmp_path) == [20, 30]


def test_weights_lie_under_their_plain_names_in_a_file_that_any_tool_opens(tmp_path: Path) -> None:
    path = write(tmp_path, 10).path
    assert {file.name for file in path.iterdir()} == {
        "checkpoint.json", "optimizer.safetensors", "weights.safetensors"
    }  # fmt: skip
    assert load_file(path / "weights.safetensors")["a"].tolist() == [10.0] * 4
    assert list(load_file(path / "optimizer.safetensors")) == ["a/exp_avg"]
    index = json.loads((path / "checkpoint.json").read_text())
    assert index["tensors"]["model/a"] == {
        "dtype": "float32", "shape": [4], "pieces": [["weights.safetensors", "a", [0], [4]]]
    }  # fmt: skip


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, file: str) -> None:
    write(tmp_path, 10)
    damaged = write(tmp_path, 20).path
    damage(damaged / file)
    found, newer = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 10
    assert [(one.path, one.reason) for one in newer] == [(damaged, f"{file} is not as it was written")]
    checkpoint.set_aside(newer[0])
    assert checkpoint.latest(tmp_path)[1] == ()
    write(tmp_path, 20)
    assert checkpoint.required(tmp_path).step == 20


def test_a_missing_file_counts_as_damage(tmp_path: Path) -> None:
    (write(tmp_path, 10).path / "weights.safetensors").unlink()
    with pytest.raises(RunError, match="only damaged ones: step-00000010, weights"):
        checkpoint.required(tmp_path)


def test_a_reader_of_weights_hashes_weights_alone(tmp_path: Path) -> None:
    damage(write(tmp_path, 10).path / "optimizer.safetensors")
    assert checkpoint.required(tmp_path).step == 10
    assert checkpoint.latest(tmp_path)[0] is None


def test_a_half_written_checkpoint_is_not_seen_and_is_removed(tmp_path: Path) -> None:
    write(tmp_path, 10)
    half = tmp_path / "checkpoints" / ".step-00000020.99"
    half.mkdir()
    assert checkpoint.required(tmp_path).step == 10
    checkpoint.remove_unfinished(tmp_path)
    assert not half.exists()


def test_damaged_checkpoints_do_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    for step in (10, 20):
        write(tmp_path, step)
    damage(tmp_path / "checkpoints/step-00000020/weights.safetensors")
    write(tmp_path, 30)
    assert steps(tmp_path) == [10, 20, 30]
    write(tmp_path, 40)
    assert steps(tmp_path) == [30, 40]


def test_one_of_each_stretch_is_kept_for_good(tmp_path: Path) -> None:
    for step in (20, 40, 60, 80, 100, 120, 125, 140):
        write(tmp_path, step, Keep(last=1, every=50))
    assert steps(tmp_path) == [60, 100, 140]


def test_a_step_that_is_saved_again_is_never_without_a_whole_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 10)
    path = tmp_path / "checkpoints/step-00000010"
    path.rename(path.with_name(".replaced-step-00000010"))  # where a kill between two renames leaves it
    found, _ = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.weights()["a"].tolist() == [10.0] * 4
    checkpoint.remove_unfinished(tmp_path)
    assert found.weights()["a"].tolist() == [10.0] * 4
    write(tmp_path, 10)
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]


def test_a_checkpoint_of_an_earlier_version_is_named_and_not_set_aside(tmp_path: Path) -> None:
    old = tmp_path / "checkpoints/step-00000010"
    old.mkdir(parents=True)
    (old / "checkpoint.json").write_text('{"step": 10, "tokens": 1, "seconds": 1.0, "sha256": {}}\n')
    with pytest.raises(RunError, match="step-00000010 was written by an earlier version of specc"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([Piece("model/a", (4,), (0,), torch.zeros(3))], "has 4 elements, and all ranks together write 3"),
        ([Piece("model/a", (4,), (2,), torch.zeros(3))], r"at \(2,\) of \(3,\) is not in \(4,\)"),
        ([whole_piece("model/a", torch.zeros(1))] * 2, "two pieces of group `model` have the same place"),
        ([whole_piece("model/a", torch.zeros(1, dtype=torch.complex64))], "no file holds tensors of type"),
    ],
)
def test_pieces_that_are_no_whole_tensor_are_refused_and_leave_nothing(
    tmp_path: Path, pieces: list[Piece], message: str
) -> None:
    write(tmp_path, 10)
    with pytest.raises(RunError, match=message):
        checkpoint.save(tmp_path, 20, 0, 0.0, pieces, {}, Keep())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]


def test_scalars_that_json_cannot_say_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no plain finite values"):
        checkpoint.save(tmp_path, 1, 0, 0.0, [], {"scale": float("nan")}, Keep())

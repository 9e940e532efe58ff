from pathlib import Path

import pytest
import torch

from runners import checkpoint
from runners.errors import RunError


def write(run: Path, step: int, keep: int = 2) -> checkpoint.Checkpoint:
    weights = {"a": torch.full((4,), float(step))}
    return checkpoint.save(run, step, step * 10, 1.5, weights, {"rng": torch.get_rng_state()}, keep)


def test_the_last_checkpoint_is_read_back_and_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write(tmp_path, step)
    found = checkpoint.required(tmp_path)
    assert (found.step, found.tokens, found.seconds) == (30, 300, 1.5)
    assert found.weights()["a"].tolist() == [30.0] * 4
    assert torch.equal(found.state()["rng"], torch.get_rng_state())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000020", "step-00000030"]


@pytest.mark.parametrize("file", ["weights.safetensors", "training_state.pt", "checkpoint.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, file: str) -> None:
    write(tmp_path, 10)
    damaged = write(tmp_path, 20).path
    content = bytearray((damaged / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (damaged / file).write_bytes(content)
    found, newer = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 10
    assert newer == (damaged,)
    checkpoint.set_aside(damaged)
    assert checkpoint.latest(tmp_path)[1] == ()
    write(tmp_path, 20)
    assert checkpoint.required(tmp_path).step == 20


def test_a_missing_file_counts_as_damage(tmp_path: Path) -> None:
    (write(tmp_path, 10).path / "weights.safetensors").unlink()
    with pytest.raises(RunError, match="only damaged ones: step-00000010"):
        checkpoint.required(tmp_path)


def test_a_half_written_checkpoint_is_not_seen_and_is_removed(tmp_path: Path) -> None:
    write(tmp_path, 10)
    half = tmp_path / "checkpoints" / ".step-00000020.99"
    half.mkdir()
    assert checkpoint.required(tmp_path).step == 10
    checkpoint.remove_unfinished(tmp_path)
    assert not half.exists()

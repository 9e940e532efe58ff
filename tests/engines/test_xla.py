"""The `xla` engine on four devices of one process, against plain PyTorch in another one."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from runners.engines.xla_placement import Spec, find, mesh, table
from tests.conftest import ROOT
from tests.engines import reference
from tests.engines.xla_environment import environment, python

pytestmark = pytest.mark.slow

DEVICES = "cluster={device: cpu, devices_per_node: 4}"
DROPPING = (
    *reference.VARIANTS["alibi"],
    "model.dropout={residual: 0.1}",
    'stages.pretrain.optimizer.rules=[{match: "embedding.*", learning_rate: 0.5x}]',
)
"""Tied, with masks to draw, and two groups of weights in the optimizer."""


FOUR_HEADS = (*reference.VARIANTS["rope"], "model.attention.num_kv_heads=4")
"""As many as devices may divide them."""


@dataclass(frozen=True)
class Case:
    parallelism: str
    sets: tuple[str, ...] = reference.VARIANTS["rope"]
    steps: int = reference.STEPS


CASES = {
    "data": Case("zero_stage: 0"),
    "data, weights divided": Case("zero_stage: 3"),
    "two copies of two": Case("zero_stage: 3, data_parallel_shard_size: 2"),
    "data and tensor": Case("zero_stage: 0, tensor_parallel_size: 2"),
    "data and tensor, weights divided": Case("zero_stage: 3, tensor_parallel_size: 2"),
    "tensor": Case("tensor_parallel_size: 4", FOUR_HEADS),
    "accumulated": Case("zero_stage: 3, gradient_accumulation_steps: 2"),
    "recomputed": Case("zero_stage: 3, tensor_parallel_size: 2, activation_checkpointing: full"),
    "bf16": Case("zero_stage: 3", (*reference.VARIANTS["rope"], "stages.pretrain.precision=bf16")),
}
FP32 = [name for name in CASES if name != "bf16"]
MASKED = {
    "dropping": Case("zero_stage: 3", DROPPING, steps=4),
    "dropping, recomputed": Case("zero_stage: 3, activation_checkpointing: full", DROPPING, steps=4),
}


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled plans, one of each case."""
    folder = tmp_path_factory.mktemp("plans")
    for name, case in (CASES | MASKED).items():
        parallelism = f"stages.pretrain.parallelism={{engine: xla, {case.parallelism}}}"
        reference.compiled(folder / name, "model.pad_vocab_size_multiple=8", DEVICES, parallelism, *case.sets)
    return folder


@pytest.fixture(scope="module")
def plains(plans: Path) -> Callable[[str], reference.Curve]:
    """What plain PyTorch says of the model of a case; each model is trained once."""
    trained: dict[tuple[str, ...], reference.Curve] = {}

    def of(name: str) -> reference.Curve:
        sets = CASES[name].sets
        if sets not in trained:
            trained[sets] = reference.plain_curve(plans / name)
        return trained[sets]

    return of


@pytest.fixture(scope="module")
def said(plans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what each case said: one process trains all, which costs one start."""
    folder = tmp_path_factory.mktemp("said")
    batches = {str(step): reference.batch(step) for step in range(reference.STEPS)}
    save_file(batches | {"validation": reference.batch(10_000)}, folder / "batches")
    cases = [{"name": name, "plan": str(plans / name), "steps": case.steps} for name, case in (CASES | MASKED).items()]
    task = {"batches": str(folder / "batches"), "learning_rate": reference.LEARNING_RATE, "cases": cases}
    (folder / "task.json").write_text(json.dumps(task))
    program = str(ROOT / "tests/engines/xla_curves.py")
    command = [str(python()), program, str(folder / "task.json"), str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return folder


def read(said: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((said / f"{name}.json").read_text()), load_file(said / f"{name}.safetensors")


def largest(ours: list[float], theirs: list[float]) -> float:
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", FP32)
def test_fifty_steps_give_the_losses_and_norms_of_plain_pytorch(
    name: str, said: Path, plains: Callable[[str], reference.Curve]
) -> None:
    curve, _ = read(said, name)
    plain = plains(name)
    assert min(plain.norms) > reference.MAX_GRAD_NORM, "clipping is active in every step"
    assert len(curve["losses"]) == reference.STEPS
    assert largest(curve["losses"], plain.losses) < reference.LOSS_TOLERANCE
    assert largest(curve["norms"], plain.norms) < reference.NORM_TOLERANCE
    assert abs(curve["validation"] - plain.validation) < reference.LOSS_TOLERANCE


def test_bf16_gives_the_losses_of_eager_bf16_with_fp32_weights(said: Path, plans: Path) -> None:
    curve, weights = read(said, "bf16")
    assert largest(curve["losses"], reference.plain_curve(plans / "bf16", bf16=True).losses) < 5e-3
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("name", CASES)
def test_first_weights_are_those_of_one_process_bit_for_bit(name: str, said: Path, plans: Path) -> None:
    made = reference.recipe(plans / name)
    model = made.model()
    reference.initialise(model, made.initialisation, made.settings.seed)
    _, weights = read(said, name)
    for word, weight in model.named_parameters():
        assert torch.equal(weights[f"first/model/{word}"], weight), word


@pytest.mark.parametrize("name", CASES)
def test_every_device_keeps_its_part_of_weights_gradients_and_states_as_jax_would_place_it(
    name: str, said: Path, plans: Path
) -> None:
    curve, weights = read(said, name)
    layout = reference.recipe(plans / name).settings.layout
    assert layout is not None
    first = "first/model/"
    shapes = {word[len(first) :]: tuple(each.shape) for word, each in weights.items() if word.startswith(first)}
    rows, sizes = table(layout, shapes), dict(mesh(layout))
    assert len(curve["placed"]) == 4 * len(shapes)
    for word, parts in curve["placed"].items():
        weight = word.partition("/")[0]
        spec, shape = find(rows, weight), shapes[weight]
        assert [[tuple(axis) for axis in part] for part in parts] == jax_parts(sizes, spec, shape), word


def test_no_program_is_compiled_after_the_second_step(said: Path) -> None:
    for name in CASES:
        programs = read(said, name)[0]["programs"]
        assert programs[-1] == programs[1], name


def test_masks_of_dropout_follow_from_the_seed_of_the_step_and_are_drawn_again_when_activations_are(
    said: Path, plans: Path
) -> None:
    one, other = (read(said, name) for name in MASKED)
    assert largest(one[0]["losses"], other[0]["losses"]) < reference.LOSS_TOLERANCE
    assert largest(one[0]["norms"], other[0]["norms"]) < reference.NORM_TOLERANCE
    made = reference.recipe(plans / "dropping")
    model = made.model().eval()
    reference.initialise(model, made.initialisation, made.settings.seed)
    without = reference.mean_loss(model, reference.batch(0)).item()
    assert 1e-4 < abs(one[0]["losses"][0] - without) < 0.1
    assert one[0]["again"] == one[0]["losses"][-1], "the last step once more, with its seed"
    assert one[0]["another"] != one[0]["losses"][-1], "and with another one"


def test_a_run_that_goes_back_to_a_checkpoint_repeats_itself_bit_for_bit(said: Path) -> None:
    for name in MASKED:
        curve, _ = read(said, name)
        assert curve["gone back"] == curve["losses"][-1]


def test_rules_give_groups_of_weights_their_own_rates(said: Path) -> None:
    _, weights = read(said, "dropping")
    moved = {
        name: float((weights[f"last/model/{name}"] - weights[f"first/model/{name}"]).abs().max())
        for name in ("embedding.weight", "layers.0.ffn.up_proj.weight")
    }
    assert moved["embedding.weight"] == pytest.approx(4 * 0.5e-3, rel=0.05)
    assert moved["layers.0.ffn.up_proj.weight"] == pytest.approx(4 * 1e-3, rel=0.05)


def jax_parts(sizes: dict[str, int], spec: Spec, shape: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """What `jax.sharding.NamedSharding(Mesh(devices.reshape(sizes), axes), PartitionSpec(*spec))` gives each device.

    A device has a coordinate on each axis of the mesh. It holds, of a dimension that axes divide, the block numbered by
    its coordinates on them, the first of them counting most.
    """
    found = []
    for place in itertools.product(*(range(size) for size in sizes.values())):
        at = dict(zip(sizes, place, strict=True))
        part = []
        for axes, length in zip(spec, shape, strict=True):
            names = () if axes is None else (axes,) if isinstance(axes, str) else axes
            block, blocks = 0, math.prod(sizes[name] for name in names)
            for name in names:
                block = block * sizes[name] + at[name]
            part.append((block * length // blocks, (block + 1) * length // blocks))
        found.append(part)
    return found

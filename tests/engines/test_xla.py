"""The `xla` engine on four devices of one process, against plain PyTorch in another one."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from runners.engines.xla_placement import Spec, find, mesh, table
from runners.layout import Layout
from tests import compiling
from tests.conftest import ROOT
from tests.engines import reference
from tests.engines.xla_environment import environment, python

pytestmark = pytest.mark.slow

DEVICES = 4
SPLITS = (("*.q_proj.weight", 0), ("*.k_proj.weight", 0), ("*.v_proj.weight", 0), ("*.o_proj.weight", 1),
          ("*.gate_proj.weight", 0), ("*.up_proj.weight", 0), ("*.down_proj.weight", 1),
          ("embedding.weight", 0), ("lm_head.weight", 0))  # fmt: skip


DROPPING = (
    *reference.VARIANTS["alibi"],
    "model.dropout={residual: 0.1}",
    'stages.pretrain.optimizer.rules=[{match: "embedding.*", learning_rate: 0.5x}]',
)
"""Tied, with masks to draw, and two groups of weights in the optimizer."""


@dataclass(frozen=True)
class Case:
    layout: Layout
    settings: dict[str, Any] = field(default_factory=dict)
    plan: str = "rope"
    steps: int = reference.STEPS


CASES = {
    "data": Case(Layout(replicate=4)),
    "data, weights divided": Case(Layout(shard=4, zero_stage=3)),
    "two copies of two": Case(Layout(replicate=2, shard=2, zero_stage=3)),
    "data and tensor": Case(Layout(replicate=2, tensor=2, splits=SPLITS)),
    "data and tensor, weights divided": Case(Layout(shard=2, tensor=2, zero_stage=3, splits=SPLITS)),
    "tensor": Case(Layout(tensor=4, splits=SPLITS)),
    "accumulated": Case(Layout(shard=4, zero_stage=3), {"gradient_accumulation_steps": 2}),
    "recomputed": Case(Layout(shard=2, tensor=2, zero_stage=3, splits=SPLITS), {"activation_checkpointing": "full"}),
    "bf16": Case(Layout(shard=4, zero_stage=3), {"precision": "bf16"}),
}
FP32 = [name for name in CASES if name != "bf16"]
MASKED = {
    "dropping": Case(Layout(shard=4, zero_stage=3), plan="dropping", steps=4),
    "dropping, recomputed": Case(
        Layout(shard=4, zero_stage=3), {"activation_checkpointing": "full"}, plan="dropping", steps=4
    ),
}


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled plans."""
    folder = tmp_path_factory.mktemp("plans")
    for name, sets in {"rope": reference.VARIANTS["rope"], "dropping": DROPPING}.items():
        of_torch = compiling.planned(*reference.SMALL, "model.pad_vocab_size_multiple=8", *sets)
        stages = [replace(each, layout=each.layout and replace(each.layout, engine="xla")) for each in of_torch.stages]
        texts = compiling.files(replace(of_torch, stages=tuple(stages)))
        (folder / name).mkdir()
        for file in ("model.py", "train.py"):
            (folder / name / file).write_text(texts[file], encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def plan(plans: Path) -> Path:
    return plans / "rope"


@pytest.fixture(scope="module")
def plain(plan: Path) -> reference.Curve:
    return reference.plain_curve(plan)


@pytest.fixture(scope="module")
def said(plans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what each case said: one process trains all, which costs one start."""
    folder = tmp_path_factory.mktemp("said")
    batches = {str(step): reference.batch(step) for step in range(reference.STEPS)}
    save_file(batches | {"validation": reference.batch(10_000)}, folder / "batches")
    cases = [
        {"name": name, "layout": asdict(case.layout), "steps": case.steps, "settings": settings(case)}
        | {"plan": str(plans / case.plan)}
        for name, case in (CASES | MASKED).items()
    ]
    task = {"batches": str(folder / "batches"), "learning_rate": reference.LEARNING_RATE, "cases": cases}
    (folder / "task.json").write_text(json.dumps(task))
    program = str(ROOT / "tests/engines/xla_curves.py")
    command = [str(python()), program, str(folder / "task.json"), str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return folder


def settings(case: Case) -> dict[str, Any]:
    accumulated = case.settings.get("gradient_accumulation_steps", 1)
    data = case.layout.replicate * case.layout.shard
    return {"micro_batch_size": reference.ROWS // data // accumulated, **case.settings}


def read(said: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((said / f"{name}.json").read_text()), load_file(said / f"{name}.safetensors")


def largest(ours: list[float], theirs: list[float]) -> float:
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", FP32)
def test_fifty_steps_give_the_losses_and_norms_of_plain_pytorch(name: str, said: Path, plain: reference.Curve) -> None:
    curve, _ = read(said, name)
    assert min(plain.norms) > reference.MAX_GRAD_NORM, "clipping is active in every step"
    assert len(curve["losses"]) == reference.STEPS
    assert largest(curve["losses"], plain.losses) < reference.LOSS_TOLERANCE
    assert largest(curve["norms"], plain.norms) < reference.NORM_TOLERANCE
    assert abs(curve["validation"] - plain.validation) < reference.LOSS_TOLERANCE


def test_bf16_gives_the_losses_of_eager_bf16_with_fp32_weights(said: Path, plan: Path) -> None:
    curve, weights = read(said, "bf16")
    assert largest(curve["losses"], reference.plain_curve(plan, bf16=True).losses) < 5e-3
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("name", CASES)
def test_first_weights_are_those_of_one_process_bit_for_bit(name: str, said: Path, plan: Path) -> None:
    made = reference.recipe(plan)
    model = made.model()
    reference.initialise(model, made.initialisation, made.settings.seed)
    _, weights = read(said, name)
    for word, weight in model.named_parameters():
        assert torch.equal(weights[f"first/model/{word}"], weight), word


@pytest.mark.parametrize("name", CASES)
def test_every_device_keeps_its_part_of_weights_gradients_and_states_as_jax_would_place_it(
    name: str, said: Path, plain: reference.Curve
) -> None:
    curve, _ = read(said, name)
    layout = CASES[name].layout
    rows = table(layout, {word: tuple(weight.shape) for word, weight in plain.weights.items()})
    sizes = dict(mesh(layout))
    assert len(curve["placed"]) == 4 * len(plain.weights)
    for word, parts in curve["placed"].items():
        weight = word.partition("/")[0]
        spec, shape = find(rows, weight), tuple(plain.weights[weight].shape)
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
    without = reference.plain_curve(plans / "dropping", 1).losses[0]
    assert 1e-4 < abs(one[0]["losses"][0] - without) < 0.1
    assert one[0]["again"] == one[0]["losses"][-1], "the last step once more, with its seed"
    assert one[0]["another"] != one[0]["losses"][-1], "and with another one"


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

"""The plan of 70 B parameters on hundreds of ranks, held against what PyTorch makes of it without any of them."""

from __future__ import annotations

import ast
import math
import time
from pathlib import Path

import pytest

from runners.engines.proof import held
from runners.layout import Layout
from specc import ir
from specc.ir.placement import Placement, divided, place
from specc.planning.mesh import on_rank
from specc.planning.workload import measure
from tests.compiling import files, module, planned
from tests.conftest import ROOT

SPEC = ROOT / "specs/70b_alibi.yaml"
MESHES = {
    "512 ranks shard": ("{engine: torch, zero_stage: 3}",),
    "8 tensor x 32 shard": ("{engine: torch, zero_stage: 3, tensor_parallel_size: 8}", "cluster.nodes=32"),
    "8 tensor x 4 groups of 8": (
        "{engine: torch, zero_stage: 3, tensor_parallel_size: 8, data_parallel_shard_size: 8}",
        "cluster.nodes=32",
    ),
}
SECONDS = 60.0
"""A bound for a busy machine: a second or two on a quiet one."""


@pytest.mark.parametrize("name", MESHES)
def test_a_rank_holds_what_the_plan_says(name: str, tmp_path: Path) -> None:
    asked, *more = MESHES[name]
    plan = planned(f"stages.pretrain.parallelism={asked}", *more, spec=SPEC)
    emitted = files(plan)
    began = time.monotonic()
    shapes = held(module(emitted["model.py"], tmp_path, "model_of_70b").Model, written(emitted["train.py"]))
    assert time.monotonic() - began < SECONDS
    assert shapes == {weight.name: share(weight, placement(plan)) for weight in plan.experiment.model.weights()}
    assert sum(map(math.prod, shapes.values())) == pytest.approx(counted(plan), rel=1e-3)


def test_the_layout_of_the_spec_itself_has_all_of_its_ranks() -> None:
    plan = planned(spec=SPEC)
    layout = written(files(plan)["train.py"])
    assert layout.processes == plan.cluster.devices == 512
    assert (layout.shard, layout.zero_stage) == (512, 3)


def written(program: str) -> Layout:
    """What a generated program states."""
    (literal,) = (
        node.value
        for node in ast.parse(program).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYOUT"
    )
    assert isinstance(literal, ast.Call)
    return Layout(**{keyword.arg or "": ast.literal_eval(keyword.value) for keyword in literal.keywords})


def placement(plan: ir.Plan) -> Placement:
    layout, work = plan.stage("pretrain").layout, plan.experiment.stage("pretrain").work
    assert layout is not None
    assert isinstance(work, ir.Training)
    return place(plan.experiment.model, layout, work.context_length)


def share(weight: ir.Weight, placed: Placement) -> tuple[int, ...]:
    """Sizes of the first rank's part: tensor ranks cut the axis that the kind names, FSDP2 the first one."""
    first, *rest = divided(weight, placed.tensor)
    return (-(-first // placed.shard), *rest)


def counted(plan: ir.Plan) -> float:
    """Elements of a rank, as the planner counts them."""
    layout, work = plan.stage("pretrain").layout, plan.experiment.stage("pretrain").work
    assert layout is not None
    assert isinstance(work, ir.Training)
    return on_rank(measure(plan.experiment.model, work), layout, 0).parameters / layout.sharding_size

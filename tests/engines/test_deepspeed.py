"""DeepSpeed beside plain PyTorch in one process: the same batches give the same curve."""

from __future__ import annotations

import fcntl
import hashlib
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from runners.errors import RunError
from runners.init import initialise
from runners.layout import Layout
from tests import compiling
from tests.engines import reference
from tests.engines.deepspeed_ranks import first_weights, skip, train
from tests.engines.ranks import on_ranks
from tests.engines.reference import LOSS_TOLERANCE, NORM_TOLERANCE, STEPS, VARIANTS, Curve

pytest.importorskip("deepspeed")

PADDED = "model.pad_vocab_size_multiple=64"
"""257 rows do not split among two ranks."""
WIDE = "model.ffn.intermediate_size=8192"
"""DeepSpeed leaves in memory what is smaller than a megabyte on a rank: a group of states, a weight."""


def plan_of(folder: Path, devices: int, parallelism: str, *sets: str) -> Path:
    """A compiled plan with its configuration."""
    cluster = f"cluster={{device: cpu, nodes: 1, devices_per_node: {devices}}}"
    engine = f"stages.pretrain.parallelism={{engine: deepspeed, {parallelism}}}"
    texts = compiling.files(compiling.planned(*reference.SMALL, cluster, engine, *sets))
    for name in ("model.py", "train.py", "deepspeed/pretrain.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[name], encoding="utf-8")
    return folder


@cache
def alone(variant: str, folder: Path, steps: int = STEPS, *sets: str) -> Curve:
    plan = reference.compiled(folder / f"alone-{variant}-{steps}", *VARIANTS[variant], *sets)
    return reference.plain_curve(plan, steps)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deepspeed")


def reads_asynchronously() -> bool:
    """Whether DeepSpeed can compile what reads and writes for it."""
    from deepspeed.ops.op_builder import AsyncIOBuilder

    return bool(AsyncIOBuilder().is_compatible(verbose=False))


def writes_directly(folder: Path) -> bool:
    """Whether the file system can go past the cache, as DeepSpeed does; one in memory may not."""
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True


def agree(said: list[dict[str, Any]], curve: Curve) -> None:
    """Every rank says the curve of one process."""
    for one in said:
        assert max(abs(a - b) for a, b in zip(one["losses"], curve.losses, strict=True)) <= LOSS_TOLERANCE
        assert max(abs(a - b) for a, b in zip(one["norms"], curve.norms, strict=True)) <= NORM_TOLERANCE
        assert abs(one["validation"] - curve.validation) <= LOSS_TOLERANCE


def equal_copies(said: list[dict[str, Any]], tensor: int = 1) -> None:
    """Ranks that hold the same part of the model hold the same bits."""
    for index, one in enumerate(said):
        assert one["weights"] == said[index % tensor]["weights"]


def test_zero_2_on_two_ranks_gives_the_curve_of_one_process(base: Path, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 2, "zero_stage: 2, micro_batch_size: 2", *VARIANTS["rope"])
    said = on_ranks(2, train, str(plan), Layout(shard=2, zero_stage=2), 20)
    agree(said, alone("rope", base, 20))
    equal_copies(said)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rope", "alibi"])
@pytest.mark.parametrize(
    ("stage", "ranks", "micro"),
    [(1, 2, 4), (1, 2, 1), (2, 2, 2), (2, 4, 1), (3, 2, 4), (3, 2, 1), (1, 4, 2), (3, 4, 2)],
)
def test_every_stage_gives_the_curve_of_one_process(
    variant: str, stage: int, ranks: int, micro: int, base: Path, tmp_path: Path
) -> None:
    """Accumulation is 8 / ranks / micro: 1, 2 and 4."""
    plan = plan_of(tmp_path, ranks, f"zero_stage: {stage}, micro_batch_size: {micro}", *VARIANTS[variant])
    said = on_ranks(ranks, train, str(plan), Layout(shard=ranks, zero_stage=stage), STEPS)
    agree(said, alone(variant, base))
    equal_copies(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "stage", "ranks"), [("rope", 1, 2), ("alibi", 1, 2), ("rope", 2, 4), ("alibi", 3, 4)]
)
def test_tensor_parallelism_gives_the_curve_of_one_process(
    variant: str, stage: int, ranks: int, base: Path, tmp_path: Path
) -> None:
    asked = f"zero_stage: {stage}, tensor_parallel_size: 2, micro_batch_size: 2"
    plan = plan_of(tmp_path, ranks, asked, *VARIANTS[variant], PADDED)
    by_head = ("alibi_slopes",) if variant == "alibi" else ()
    layout = Layout(shard=ranks // 2, tensor=2, zero_stage=stage, by_head=by_head)
    said = on_ranks(ranks, train, str(plan), layout, STEPS)
    agree(said, alone(variant, base, STEPS, PADDED))
    equal_copies(said, tensor=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "ranks", "micro"), [("rope", 2, 2), ("alibi", 2, 1), ("rope", 4, 2), ("alibi", 4, 1)]
)
def test_a_pipeline_gives_the_curve_of_one_process(
    variant: str, ranks: int, micro: int, base: Path, tmp_path: Path
) -> None:
    """Two stages, over one or two data-parallel ranks; `alibi` has a tied embedding."""
    asked = f"zero_stage: 1, pipeline_parallel_size: 2, micro_batch_size: {micro}"
    plan = plan_of(tmp_path, ranks, asked, *VARIANTS[variant])
    layout = Layout(pipeline=2, shard=ranks // 2, zero_stage=1, stages=((0, 2), (2, 4)))
    said = on_ranks(ranks, train, str(plan), layout, STEPS)
    agree(said, alone(variant, base))
    for first in (0, ranks // 2):
        equal_copies(said[first : first + ranks // 2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "asked"),
    [
        (1, "offload: {optimizer: cpu}"),
        (2, "offload: {optimizer: cpu}"),
        (3, "offload: {optimizer: cpu, parameters: cpu}"),
    ],
)
def test_offload_gives_the_curve_of_one_process(stage: int, asked: str, base: Path, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 2, f"zero_stage: {stage}, micro_batch_size: 2, {asked}", *VARIANTS["alibi"])
    said = on_ranks(2, train, str(plan), Layout(shard=2, zero_stage=stage), STEPS)
    agree(said, alone("alibi", base))
    equal_copies(said)


@pytest.mark.slow
@pytest.mark.skipif(not reads_asynchronously(), reason="libaio-dev is not installed: nothing goes to NVMe")
@pytest.mark.parametrize(
    "asked", ["optimizer: nvme", "optimizer: nvme, parameters: nvme", "optimizer: cpu, parameters: nvme"]
)
def test_states_on_nvme_give_the_curve_of_one_process(asked: str, base: Path, tmp_path: Path) -> None:
    disk = tmp_path / "nvme"
    disk.mkdir()
    if not writes_directly(disk):
        pytest.skip("temporary files lie in memory here")
    offload = f"zero_stage: 3, micro_batch_size: 2, offload: {{{asked}, nvme_path: {disk}}}"
    plan = plan_of(tmp_path, 2, offload, *VARIANTS["alibi"], WIDE)
    layout, folder = Layout(shard=2, zero_stage=3), str(tmp_path / "run")
    said = on_ranks(2, train, str(plan), layout, 20, 10, None, folder)
    agree(said, alone("alibi", base, 20, WIDE))
    equal_copies(said)
    there = {path.relative_to(disk / "zero_stage_3").parts[0] for path in disk.rglob("*.swp")}
    named = {"optimizer: nvme": "optimizer", "parameters: nvme": "float32params"}
    assert there == {folder for what, folder in named.items() if what in asked}
    again = on_ranks(2, train, str(plan), layout, 20, None, folder)
    assert [one["losses"] for one in again] == [one["losses"][10:] for one in said]
    assert [one["weights"] for one in again] == [one["weights"] for one in said]


def test_a_machine_or_a_folder_that_does_not_serve_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runners.engines import deepspeed_package

    def told(folder: str, there: bool = True) -> str:
        builder = SimpleNamespace(is_compatible=lambda **_: there)
        monkeypatch.setattr(deepspeed_package, "AsyncIOBuilder", lambda: builder)
        plan = plan_of(tmp_path, 1, f"zero_stage: 3, offload: {{optimizer: nvme, nvme_path: {tmp_path}/{folder}}}")
        recipe = reference.recipe(plan, engine_config="deepspeed/pretrain.json", micro_batch_size=8)
        with pytest.raises(RunError) as error:
            deepspeed_package.configuration(recipe)
        return str(error.value)

    (tmp_path / "file").touch()
    (tmp_path / "used").mkdir()
    assert "not here: " in told("file/nvme")
    assert "lacks `libaio-dev`" in told("new", there=False)
    with (tmp_path / "used/rank0.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another run writes to `nvme_path`" in told("used")


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "mode"), [(1, "full"), (2, "full"), (3, "full")])
def test_blocks_that_are_computed_again_give_the_curve_of_one_process(
    stage: int, mode: str, base: Path, tmp_path: Path
) -> None:
    asked = f"zero_stage: {stage}, micro_batch_size: 2, activation_checkpointing: {mode}"
    plan = plan_of(tmp_path, 2, asked, *VARIANTS["rope"])
    agree(on_ranks(2, train, str(plan), Layout(shard=2, zero_stage=stage), 20), alone("rope", base, 20))


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "micro"), [(1, 4), (1, 2), (2, 2), (3, 2)])
def test_bf16_stays_near_the_curve_of_one_process(stage: int, micro: int, base: Path, tmp_path: Path) -> None:
    """With fp32 master weights; the weights that it computes with are rounded, where autocast rounds each use."""
    asked = f"zero_stage: {stage}, micro_batch_size: {micro}"
    plan = plan_of(tmp_path, 2, asked, *VARIANTS["rope"], "stages.pretrain.precision=bf16")
    said = on_ranks(2, train, str(plan), Layout(shard=2, zero_stage=stage), STEPS)
    losses = reference.plain_curve(plan, STEPS, bf16=True).losses
    assert said[0]["losses"] == pytest.approx(losses, abs=5e-3, rel=0)
    equal_copies(said)


@pytest.mark.slow
def test_norms_that_all_heads_share_get_the_gradient_of_all_heads(tmp_path: Path) -> None:
    """Each rank has the norm whole and applies it to its own heads: the ranks would drift apart in silence."""
    sets = (*VARIANTS["rope"], PADDED, "model.attention.qk_norm={kind: rmsnorm}")
    plan = plan_of(tmp_path, 2, "zero_stage: 1, tensor_parallel_size: 2", *sets)
    said = on_ranks(2, train, str(plan), Layout(tensor=2, zero_stage=1), 20)
    agree(said, reference.plain_curve(plan, 20))
    for name in (name for name in said[0]["weights"] if name.endswith(("q_norm.weight", "k_norm.weight"))):
        assert said[0]["weights"][name] == said[1]["weights"][name]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("more", ["", ", offload: {optimizer: cpu}"])
def test_gradients_that_are_not_applied_leave_nothing_behind(stage: int, more: str, base: Path, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 2, f"zero_stage: {stage}, micro_batch_size: 2{more}", *VARIANTS["rope"])
    said = on_ranks(2, skip, str(plan), Layout(shard=2, zero_stage=stage), 5)
    curve = alone("rope", base, 5)
    for one in said:
        assert one["losses"] == pytest.approx(curve.losses, abs=LOSS_TOLERANCE, rel=0)
        assert one["norms"] == pytest.approx(curve.norms, abs=NORM_TOLERANCE, rel=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [Layout(shard=2, zero_stage=1), Layout(shard=3, zero_stage=3), Layout(shard=4, zero_stage=3)],
    ids=lambda layout: f"zero_{layout.zero_stage}_of_{layout.shard}",
)
def test_first_weights_are_bitwise_those_of_one_process(layout: Layout, tmp_path: Path) -> None:
    batch = f"stages.pretrain.global_batch_size={layout.shard} sequences"
    plan = plan_of(tmp_path, layout.shard, f"zero_stage: {layout.zero_stage}", *VARIANTS["rope"], batch)
    made = reference.recipe(plan)
    model = made.model()
    initialise(model, made.initialisation, made.settings.seed)
    for said in on_ranks(layout.shard, first_weights, str(plan), layout):
        assert said == hashes(model)


def hashes(model: torch.nn.Module) -> dict[str, str]:
    values = {name: weight.detach().numpy().tobytes() for name, weight in model.named_parameters()}
    return {name: hashlib.sha256(value).hexdigest() for name, value in values.items()}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3])
def test_no_rank_aborts_at_the_end_of_many_runs(stage: int, tmp_path: Path) -> None:
    """DeepSpeed's ranks ended with SIGABRT in 3 of 25 runs where none waited for the others; `on_ranks` sees it."""
    plan = plan_of(tmp_path, 2, f"zero_stage: {stage}", *VARIANTS["rope"])
    for _ in range(25):
        on_ranks(2, first_weights, str(plan), Layout(shard=2, zero_stage=stage))

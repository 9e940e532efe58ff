"""Where XLA puts weights, and what is said where the engine cannot run: nothing here needs torch-xla."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.engines import refuse_unsupported, xla_host
from runners.engines.xla_placement import find, mesh, place, table
from runners.errors import RunError
from runners.layout import Layout
from runners.ranks import ALONE
from runners.recipe import Pretraining
from tests.engines import reference

SPLITS = (("*.up_proj.weight", 0), ("*.up_proj.bias", 0), ("*.down_proj.weight", 1), ("embedding.weight", 0))
SHAPES = {
    "embedding.weight": (320, 64),
    "layers.0.norm.weight": (64,),
    "layers.0.ffn.up_proj.weight": (192, 64),
    "layers.0.ffn.up_proj.bias": (192,),
    "layers.0.ffn.down_proj.weight": (64, 192),
    "layers.1.norm.weight": (64,),
    "layers.1.ffn.up_proj.weight": (256, 64),
    "layers.1.ffn.up_proj.bias": (256,),
    "layers.1.ffn.down_proj.weight": (64, 257),
}


def test_matrices_are_divided_over_both_axes_and_vectors_over_tensor_alone() -> None:
    layout = Layout(shard=4, tensor=2, zero_stage=3, splits=SPLITS)
    assert mesh(layout) == (("replicate", 1), ("shard", 4), ("tensor", 2))
    assert place(layout, "embedding.weight", (320, 64)) == ("tensor", "shard")
    assert place(layout, "layers.0.ffn.up_proj.bias", (192,)) == ("tensor",)
    assert place(layout, "layers.0.ffn.down_proj.weight", (64, 192)) == ("shard", "tensor")
    assert place(layout, "layers.0.norm.weight", (64,)) == (None,)


def test_without_zero_only_tensor_parallelism_divides_weights() -> None:
    layout = Layout(replicate=4, tensor=2, splits=SPLITS)
    assert place(layout, "embedding.weight", (320, 64)) == ("tensor", None)
    assert place(Layout(replicate=8), "embedding.weight", (320, 64)) == (None, None)


def test_zero_divides_the_first_axis_that_it_divides_evenly() -> None:
    layout = Layout(shard=4, zero_stage=3)
    assert place(layout, "a.weight", (257, 64)) == (None, "shard")
    assert place(layout, "a.weight", (257, 63)) == (None, None)
    assert place(layout, "experts", (8, 64, 192)) == ("shard", None, None)


def test_layers_that_agree_are_one_row_and_others_have_their_own() -> None:
    rows = dict(table(Layout(tensor=2, splits=SPLITS[:2]), SHAPES))
    assert rows["layers.*.ffn.up_proj.weight"] == ("tensor", None)
    assert len(rows) == 5
    divided = table(Layout(shard=3, zero_stage=3), {"layers.0.a": (3, 2), "layers.1.a": (2, 3)})
    assert divided == (("layers.0.a", ("shard", None)), ("layers.1.a", (None, "shard")))
    assert find(divided, "layers.1.a") == (None, "shard")


def test_a_pattern_stands_for_a_number_and_for_nothing_else() -> None:
    rows = (("layers.*.norm.weight", (None,)),)
    assert find(rows, "layers.31.norm.weight") == (None,)
    with pytest.raises(RunError, match=r"no partition spec matches the weight `layers\.3\.attention\.norm\.weight`"):
        find(rows, "layers.3.attention.norm.weight")


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout(pipeline=2), "has no axis `pipeline` in its mesh, and the plan gives it 2 devices"),
        (Layout(context=4), "has no axis `context`"),
        (Layout(shard=2, expert=2), "has no axis `expert`"),
        (Layout(shard=4, zero_stage=2), "ZeRO stage 0 or 3, and not 2"),
    ],
)
def test_layouts_that_spmd_does_not_have_are_refused(layout: Layout, said: str) -> None:
    with pytest.raises(RunError, match=said):
        mesh(layout)


def test_a_dimension_that_tensor_parallelism_does_not_divide_is_refused() -> None:
    with pytest.raises(RunError, match=r"`embedding\.weight` has 257 values on axis 0, and 2 devices divide them"):
        place(Layout(tensor=2, splits=SPLITS), "embedding.weight", (257, 64))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Pretraining:
    made = reference.recipe(reference.compiled(tmp_path_factory.mktemp("plan")))
    return replace(made.settings, engine="xla", layout=Layout(shard=4), micro_batch_size=2)


def test_one_process_reads_the_rows_of_all_devices(settings: Pretraining) -> None:
    refuse_unsupported(settings, ALONE)
    with pytest.raises(RunError, match="is 16 sequences, and global_batch_size is 8"):
        refuse_unsupported(replace(settings, micro_batch_size=4), ALONE)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"precision": "fp16"}, "runs fp32 or bf16, and the plan says fp16"),
        ({"compile": True}, "compiles each step itself; torch.compile on it trains wrongly from the second step on"),
        ({"activation_checkpointing": "selective"}, "none or full, and the plan says selective"),
        ({"scoring": object()}, "scores no suites while it trains"),
        ({"ema": object()}, "keeps no average of the weights"),
        ({"auxiliary_loss": 0.01}, "runs no experts"),
        ({"after_step": True}, "runs no experts"),
    ],
)
def test_what_the_engine_does_not_run_is_refused(settings: Pretraining, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=said):
        refuse_unsupported(replace(settings, **changed), ALONE)


def test_the_python_with_torch_xla_is_named_lies_beside_or_is_missed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(xla_host.PYTHON, raising=False)
    with pytest.raises(RunError, match=r"engine `xla` needs torch-xla, and .* has none; `make xla`.*pip install"):
        xla_host.interpreter()
    beside = tmp_path / ".venv-xla/bin/python"
    beside.parent.mkdir(parents=True)
    beside.symlink_to(sys.executable)
    assert xla_host.interpreter() == str(beside)
    monkeypatch.setenv(xla_host.PYTHON, "/nowhere/python")
    with pytest.raises(RunError, match="SPECC_XLA_PYTHON is /nowhere/python, and there is no such file"):
        xla_host.interpreter()
    monkeypatch.setenv(xla_host.PYTHON, sys.executable)
    assert xla_host.interpreter() == sys.executable
    monkeypatch.setenv("SPECC_XLA_ENTERED", sys.executable)
    with pytest.raises(RunError, match="has no torch-xla; `make xla`"):
        xla_host.interpreter()


def test_a_program_for_xla_states_its_layout_and_asks_for_no_fused_step_of_the_optimizer(tmp_path: Path) -> None:
    sets = ("model.pad_vocab_size_multiple=8", "cluster={device: cpu, devices_per_node: 4}")
    on_xla = "stages.pretrain.parallelism={engine: xla, zero_stage: 3, tensor_parallel_size: 2}"
    plan = reference.compiled(tmp_path / "xla", *sets, on_xla)
    layout = reference.recipe(plan).settings.layout
    assert layout is not None
    assert mesh(layout) == (("replicate", 1), ("shard", 2), ("tensor", 2))
    assert place(layout, "layers.1.ffn.down_proj.weight", (64, 192)) == ("shard", "tensor")
    assert place(layout, "layers.1.attention.q_proj.weight", (64, 64)) == ("tensor", "shard")
    assert place(layout, "layers.1.ffn_norm.weight", (64,)) == (None,)
    assert "fused" not in (plan / "train.py").read_text()
    other = reference.compiled(tmp_path / "torch", *sets, "stages.pretrain.parallelism={engine: torch}")
    assert "fused=True" in (other / "train.py").read_text()

"""The emitted configuration beside DeepSpeed's own classes: no key that they do not know, no value that they change."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.backends.test_plans import leaves
from tests.compiling import files, planned
from tests.engines.reference import SMALL

os.environ.setdefault("DS_ACCELERATOR", "cpu")
pytest.importorskip("deepspeed")

GPUS = "cluster={device: h100_sxm, nodes: 1, devices_per_node: 8}"
ASKED = {
    "zero_1": ("zero_stage: 1",),
    "zero_2": ("zero_stage: 2",),
    "zero_3": ("zero_stage: 3",),
    "bf16": ("zero_stage: 3", "stages.pretrain.precision=bf16"),
    "fp16": ("zero_stage: 2", "stages.pretrain.precision=fp16", "stages.pretrain.loss_scale=dynamic"),
    "tensor": ("zero_stage: 2, tensor_parallel_size: 2", "model.pad_vocab_size_multiple=64"),
    "pipeline": ("zero_stage: 1, pipeline_parallel_size: 2",),
    "cpu_optimizer": ("zero_stage: 1, offload: {optimizer: cpu}",),
    "nvme": ("zero_stage: 3, offload: {optimizer: nvme, parameters: nvme, nvme_path: /nvme}",),
}


def configuration(name: str) -> dict[str, Any]:
    parallelism, *sets = ASKED[name]
    engine = f"stages.pretrain.parallelism={{engine: deepspeed, {parallelism}}}"
    found: dict[str, Any] = json.loads(files(planned(*SMALL, GPUS, engine, *sets))["deepspeed/pretrain.json"])
    return found


def same(told: Any, read: Any) -> bool:
    """Whether a class of pydantic read what it was told, below too."""
    if isinstance(told, dict) and not isinstance(read, dict):
        fields = type(read).model_fields
        names = {(field.alias or name): name for name, field in fields.items()} | {name: name for name in fields}
        return all(same(value, getattr(read, names[key])) for key, value in told.items())
    return bool(read == told or str(read) == str(told) or getattr(read, "value", None) == told)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ASKED)
def test_deepspeed_reads_every_value_as_it_was_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepspeed.runtime.config import DeepSpeedConfig
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.tensor_parallel.config import TPTrainingConfig
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    told = configuration(name)
    assert "auto" not in list(leaves(told))
    classes = {"zero_optimization": DeepSpeedZeroConfig, "bf16": DeepSpeedBF16Config, "fp16": DeepSpeedFP16Config}
    for section, kind in (classes | {"tensor_parallel": TPTrainingConfig}).items():
        if section in told:
            assert same(told[section], kind(strict=True, **told[section])), section
            with pytest.raises(ValueError, match="zero_hero"):
                kind(strict=True, **told[section], zero_hero=1)
    ranks = told["train_batch_size"] // (told["train_micro_batch_size_per_gpu"] * told["gradient_accumulation_steps"])
    monkeypatch.setattr("deepspeed.runtime.config.dist.get_rank", lambda: 0)
    monkeypatch.setattr("deepspeed.runtime.config.dist.get_world_size", lambda: ranks)
    whole = DeepSpeedConfig(told)
    for key in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        assert getattr(whole, key) == told[key]
    assert whole.zero_optimization_stage == told["zero_optimization"]["stage"]
    assert (whole.gradient_clipping, whole.steps_per_print) == (told["gradient_clipping"], None)
    assert whole.managed_gradient_accumulation is True
    assert (whole.zero_allow_untested_optimizer, whole.zero_force_ds_cpu_optimizer) == (True, False)


@pytest.mark.filterwarnings("ignore")
def test_no_value_of_zero_is_left_to_deepspeed() -> None:
    """But for what this version does not offer, what is deprecated, and lists that are empty."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    told = set(configuration("zero_3")["zero_optimization"])
    fields = DeepSpeedZeroConfig.model_fields
    known = {field.alias or name for name, field in fields.items() if not (field.json_schema_extra or {})}
    assert known - told == {"zenflow", "leaf_module"}
    assert told <= known


@pytest.mark.filterwarnings("ignore")
def test_every_name_of_the_program_is_a_key_that_deepspeed_reads() -> None:
    """Keys outside its classes are looked up by name: each stands as a constant in its source."""
    from pathlib import Path

    import deepspeed

    root = Path(deepspeed.__file__).parent / "runtime"
    text = "".join(path.read_text() for path in root.rglob("*.py"))
    for key in {**configuration("tensor"), **configuration("pipeline"), **configuration("nvme")}:
        assert f'"{key}"' in text or f"'{key}'" in text, key
    for section in ("activation_checkpointing", "data_types", "aio", "pipeline"):
        for key in configuration("pipeline" if section == "pipeline" else "nvme")[section]:
            assert f'"{key}"' in text or f"'{key}'" in text, key


def test_the_partition_names_every_matrix_that_is_divided_and_no_other() -> None:
    import re

    engine = "stages.pretrain.parallelism={engine: deepspeed, zero_stage: 2, tensor_parallel_size: 2}"
    norm = "model.attention.qk_norm={kind: rmsnorm}"
    plan = planned(*SMALL, GPUS, engine, norm, "model.pad_vocab_size_multiple=64", "model.tie_embeddings=false")
    told = json.loads(files(plan)["deepspeed/pretrain.json"])["tensor_parallel"]["partition_config"]
    assert told["use_default_specs"] is False
    kinds = {}
    for weight in plan.experiment.model.weights():
        specs = [
            (one["partition_type"], one.get("gather_output", False), one.get("grad_allreduce", False))
            for one in told["layer_specs"]
            if any(re.match(pattern, f"model.{weight.name}") for pattern in one["patterns"])
        ]
        assert len(specs) <= 1
        kinds[weight.name.split(".")[-2]] = specs[0] if specs else None
    assert kinds == {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"), ("column", False, False)),
        **dict.fromkeys(("o_proj", "down_proj"), ("row", False, False)),
        "lm_head": ("column", True, False),
        **dict.fromkeys(("q_norm", "k_norm"), ("skip", False, True)),
        **dict.fromkeys(("embedding", "attention_norm", "ffn_norm", "norm"), None),
    }

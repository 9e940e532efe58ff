"""What is emitted beside the model: engine configuration, jobs, suites, the card."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from specc import driver, manifest
from tests.compiling import TINY, files, module, planned
from tests.conftest import ROOT

SHOWCASE = ROOT / "generated/70b_alibi"
CLUSTER = "cluster={device: h100_sxm, nodes: 2, devices_per_node: 4, slurm: {partition: gpu}}"


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for below in value.values():
            yield from leaves(below)
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below)
    else:
        yield value


def test_deepspeed_is_left_nothing_to_decide() -> None:
    config = json.loads((SHOWCASE / "deepspeed/pretrain.json").read_text(encoding="utf-8"))
    assert "auto" not in list(leaves(config))
    assert config["zero_optimization"]["stage"] == 3
    assert config["bf16"]["enabled"] is True
    product = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"] * 64 * 8
    assert product == config["train_batch_size"] == 1024  # 4 Mi tokens of 4,096
    assert "activation_checkpointing='full'" in (SHOWCASE / "train.py").read_text(encoding="utf-8").replace('"', "'")


@pytest.mark.parametrize(("scale", "told"), [("dynamic", 0), ("1024.0", 1024.0)])
def test_deepspeed_is_told_the_loss_scale(scale: str, told: float) -> None:
    fp16 = ("stages.pretrain.precision=fp16", f"stages.pretrain.loss_scale={scale}")
    engine = "stages.pretrain.parallelism={engine: deepspeed}"
    config = json.loads(files(planned(CLUSTER, *fp16, engine))["deepspeed/pretrain.json"])
    assert (config["fp16"]["enabled"], config["bf16"]["enabled"]) == (True, False)
    assert (config["fp16"]["loss_scale"], 2 ** config["fp16"]["initial_scale_power"]) == (told, 65536)
    assert config["data_types"]["grad_accum_dtype"] in ("fp16", "fp32")
    assert "auto" not in list(leaves(config))


def test_deepspeed_is_given_the_optimizer_of_the_program() -> None:
    """Its own has one weight decay for all weights, vectors among them, and is compiled on first use."""
    config = json.loads(
        files(planned(CLUSTER, "stages.pretrain.parallelism={engine: deepspeed}"))["deepspeed/pretrain.json"]
    )
    assert "optimizer" not in config
    assert config["zero_allow_untested_optimizer"] is True
    assert config["zero_force_ds_cpu_optimizer"] is False


def test_rules_are_a_table_that_reads_like_the_spec() -> None:
    rules = "[{match: 'embedding.*', learning_rate: 0.1x, weight_decay: 0.0}]"
    text = files(planned(f"stages.pretrain.optimizer.rules={rules}"))["train.py"]
    assert '    ("embedding.*", AdamW(scale=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)),\n' in text
    assert '    ("*", AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),\n)' in text
    assert "Muon" not in text


def test_the_planner_counts_what_deepspeed_is_told() -> None:
    from specc.ir.plan import BUCKET_ELEMENTS

    config = json.loads((SHOWCASE / "deepspeed/pretrain.json").read_text(encoding="utf-8"))
    buckets = dict(planned(spec=ROOT / "specs/70b_alibi.yaml").stage("pretrain").memory.by_cause)[
        "communication buckets"
    ]  # type: ignore[union-attr]
    assert config["zero_optimization"]["reduce_bucket_size"] == BUCKET_ELEMENTS
    assert buckets == 2 * 2 * BUCKET_ELEMENTS  # two buckets of bf16


@pytest.mark.parametrize("field", ["partition", "account", "qos", "constraint", "reservation", "exclude"])
def test_what_stands_in_a_job_script_is_one_word(field: str) -> None:
    for text in ("gpu\ntouch hacked", "gpu hacked", "gpu;x", "$(x)", "`x`", "gpu\t#"):
        value = json.dumps([text] if field == "exclude" else text)
        outcome = driver.check(TINY, (CLUSTER, f"cluster.slurm.{field}={value}"))
        assert outcome.plan is None
        assert outcome.failed


def test_every_stage_is_a_job_after_those_it_builds_on() -> None:
    tree = ast.parse((SHOWCASE / "submit.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Job"]
    jobs = {job["stage"]: job for job in ({k.arg: ast.literal_eval(k.value) for k in call.keywords} for call in calls)}
    assert {name: job["after"] for name, job in jobs.items()} == {
        "pretrain": (),
        "sft": ("pretrain",),
        "dpo": ("sft",),
        "evaluate": ("pretrain", "sft", "dpo"),
        "export": ("dpo",),
    }
    assert (jobs["pretrain"]["nodes"], jobs["pretrain"]["gpus_per_node"]) == (64, 8)
    without_code = {name for name, job in jobs.items() if job["program"] is None}
    assert without_code == {"sft", "dpo"}
    assert {name: job["engine"] for name, job in jobs.items()}["pretrain"] == "deepspeed"


def test_the_manifest_holds_the_hash_of_every_file() -> None:
    read = manifest.read(SHOWCASE)
    assert manifest.changed_files(SHOWCASE, read) == ()
    assert read.model["parameters"]["total"] == 68_455_505_920
    assert read.settings["stages.pretrain.global_batch_size"].value == "4Mi tokens"


def test_the_card_says_what_it_costs() -> None:
    card = (SHOWCASE / "README.md").read_text(encoding="utf-8")
    for pattern in (
        r"\| parameters \| 68,455,505,920 \|",
        r"forward FLOPs \| [\d,]+ per token",
        r"tokens \| 2,000,003,530,752 \(29\.2 per parameter\)",
        r"optimizer states \| [\d.]+ GiB",
        r"duration \| [\d.]+ days",
        r"cost \| \$[\d,]+",
    ):
        assert re.search(pattern, card), pattern


def test_suites_are_groups_of_lm_eval_under_names_of_their_own() -> None:
    suite = yaml.safe_load((SHOWCASE / "suites/reasoning.yaml").read_text(encoding="utf-8"))
    assert suite["group"] == "specc_reasoning"
    assert {"task": "gsm8k", "num_fewshot": 8} in suite["task"]
    ours = yaml.safe_load((ROOT / "generated/quickstart/suites/held_out.yaml").read_text(encoding="utf-8"))
    assert ours["task"][0]["output_type"] == "loglikelihood_rolling"


@pytest.mark.slow
def test_every_task_of_the_showcase_exists_in_lm_eval() -> None:
    from lm_eval.tasks import TaskManager

    known = TaskManager().all_tasks
    for name in ("70b_alibi", "llama3_8b", "gpt2_124m"):
        for path in (ROOT / f"generated/{name}/suites").glob("*.yaml"):
            for task in yaml.safe_load(path.read_text(encoding="utf-8"))["task"]:
                assert task["task"] in known, f"{path.name}: {task['task']}"


@pytest.mark.parametrize(
    "path",
    [
        "description",
        "stages.pretrain.sample.prompt",
        "data.text.sources.files.path",
    ],
)
def test_text_of_a_spec_stays_text(path: str, tmp_path: Path) -> None:
    """Whatever a string holds, every emitted program parses, holds it verbatim, and runs none of it."""
    text = "\"\"\"');__import__('os').system('x')#\n{{ 1 + 1 }} {% endif %} $(x) `x` \\ é \u2028"
    emitted = files(planned(CLUSTER, f"{path}={json.dumps(text)}", spec=TINY))
    for name, content in emitted.items():
        if name.endswith(".py"):
            strings = {node.value for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Constant)}
            mentions = "train.py" if path.endswith("prompt") else ""
            assert name != mentions or text in strings
            calls = {
                getattr(node.func, "id", "") for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Call)
            }
            assert "__import__" not in calls
    assert json.loads(emitted["manifest.json"])["settings"][path]["value"] == text
    locked = yaml.safe_load(emitted["experiment.lock.yaml"])
    for part in path.split("."):
        locked = locked[part]
    assert locked == text


def test_initial_weights_follow_rules_that_match_every_weight(tmp_path: Path) -> None:
    from fnmatch import fnmatchcase

    plan = planned("model.norm={kind: layernorm}", "model.attention.bias=all")
    program = module(files(plan)["train.py"].replace("from model import Cache, Model", ""), tmp_path, "program")
    said = {weight.name: weight.init for weight in plan.experiment.model.weights()}
    for name, init in said.items():
        rule = next(rule for pattern, rule in program.INITIALISATION if fnmatchcase(name, pattern))
        assert type(rule).__name__.lower() == init.distribution
        assert getattr(rule, "std", 0.0) == init.std


def test_the_learning_rate_rises_to_the_peak_and_falls_to_the_floor(tmp_path: Path) -> None:
    plan = planned("stages.pretrain.schedule={kind: cosine, warmup: 10 steps, min_ratio: 0.1}")
    program = module(files(plan)["train.py"].replace("from model import Cache, Model", ""), tmp_path, "program")
    rates = [program.learning_rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == rates[10] == max(rates) == 1e-3
    assert rates[55] == pytest.approx((1e-3 + 1e-4) / 2)
    assert rates[100] == pytest.approx(1e-4)
    assert all(after <= before for before, after in pairwise(rates[10:]))

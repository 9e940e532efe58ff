"""Jobs against what the site offers, and against what the stages take."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.driver import emit
from tests.checks.specs import codes, found, outcome

LONG = """model: {hidden_size: 4096, num_layers: 32, ffn: {intermediate_size: 11008}}
stages:
  pretrain:
    {duration: 100B tokens, precision: bf16, global_batch_size: 1Mi tokens, checkpoint: {every: EVERY}}
"""


def cluster(slurm: str, more: str = "", nodes: int = 1) -> str:
    return f"cluster: {{device: h100_sxm, nodes: {nodes}, devices_per_node: 8, {more}slurm: {{{slurm}}}}}"


def long(every: str = "500 steps") -> str:
    return LONG.replace("EVERY", every)


@pytest.mark.parametrize(
    ("offered", "slurm", "code"),
    [
        ("devices_per_node: 4", "", "SPC702"),
        ("nodes: 1", "", "SPC702"),
        ("max_time: 12h", "", "SPC702"),
        ("cpus_per_node: 63", "", "SPC706"),
        ("mem_per_node: 1 TiB", "mem: 1025 GiB, ", "SPC706"),
        ("devices_per_node: 8, nodes: 2, max_time: 24h, cpus_per_node: 64, mem_per_node: 1 TiB", "mem: 1 TiB, ", None),
        ("{}", "", None),
    ],
)
def test_a_job_is_held_against_its_partition(offered: str, slurm: str, code: str | None, tmp_path: Path) -> None:
    offer = f"partitions: {{gpu: {{{offered.strip('{}')}}}}}, "
    text = cluster(f"{slurm}partition: gpu", offer, nodes=2)
    batch = "stages: {pretrain: {global_batch_size: 16 sequences}}\n"
    assert codes(tmp_path, batch + text) == ([] if code is None else [code])


def test_an_unknown_partition_is_named_with_the_nearest(tmp_path: Path) -> None:
    (error,) = found(tmp_path, cluster("partition: gpus", "partitions: {gpu: {}, cpu: {}}, "), "SPC702")
    assert error.help == "did you mean `gpu`?"


def test_a_site_that_declares_nothing_is_believed(tmp_path: Path) -> None:
    assert codes(tmp_path, cluster("partition: anything")) == []


def test_a_long_stage_is_a_warning_only_where_its_job_is_not_requeued(tmp_path: Path) -> None:
    assert codes(tmp_path, long() + cluster("time_limit: 24h, requeue: false")) == ["SPC701"]
    assert codes(tmp_path, long() + cluster("time_limit: 24h")) == []
    assert codes(tmp_path, long() + cluster("time_limit: 3000h, requeue: false")) == []


def test_checkpoints_far_apart_are_a_warning_and_the_advice_ends_it(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, long("20%") + cluster(""), "SPC703")
    assert warning.help is not None
    every = warning.help.split("every: ")[1].split("}")[0]
    assert codes(tmp_path, long(every) + cluster("")) == []


def test_of_the_default_distance_is_spoken_where_that_is_asked_for(tmp_path: Path) -> None:
    text = long().replace(", checkpoint: {every: 500 steps}", "") + cluster("")
    assert codes(tmp_path, text) == []
    assert codes(tmp_path, text + "\nwarn: [SPC703]") == ["SPC703"]


def test_a_signal_must_come_before_a_step_and_a_checkpoint(tmp_path: Path) -> None:
    slow = "checkpoint_bandwidth: 500 MB/s, "
    (error,) = found(tmp_path, long() + cluster("signal_delay: 90s", slow), "SPC704")
    assert error.help is not None
    advised = error.help.split("`")[1]
    assert codes(tmp_path, long() + cluster(advised, slow)) == []
    assert codes(tmp_path, long() + cluster("signal_delay: 90s")) == []


def test_requeueing_and_the_warning_reach_the_job(tmp_path: Path) -> None:
    plan = outcome(tmp_path, cluster("requeue: false, signal_delay: 300s")).plan
    assert plan is not None
    (submit,) = [artifact.text for artifact in emit(plan) if artifact.path == "submit.py"]
    assert "requeue=False" in submit
    assert "signal_delay=300" in submit

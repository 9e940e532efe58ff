"""`evaluate.py` and `suites/*.yaml`: what lm-eval is asked to score."""

from __future__ import annotations

from typing import Any

import yaml

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice

KIND = "evaluate"
BITS_PER_BYTE = "bits_per_byte"
"""The task of ours: the loss on held-out documents, in bits for each byte of their text."""


def program(experiment: ir.Experiment, stage: ir.Stage) -> str:
    """`evaluate.py`, or `evaluate_STAGE.py` where an experiment evaluates more than once."""
    only = sum(other.kind == KIND for other in experiment.stages) == 1
    return "evaluate.py" if only else f"evaluate_{stage.name}.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One program an evaluation stage, one file a suite."""
    experiment = plan.experiment
    stages = [stage for stage in experiment.stages if isinstance(stage.work, ir.Evaluation)]
    on_the_way = [stage.work.evaluation for stage in experiment.stages if isinstance(stage.work, ir.Training)]
    works = [*(work for work in on_the_way if work is not None), *(_evaluation(stage) for stage in stages)]
    suites = {suite.name: suite for work in works for suite in work.suites}
    return (
        *(_program(experiment, stage) for stage in stages),
        *(Artifact(path(suite), _suite(suite)) for suite in suites.values()),
    )


def _evaluation(stage: ir.Stage) -> ir.Evaluation:
    assert isinstance(stage.work, ir.Evaluation), f"{stage.name} does not evaluate"
    return stage.work


def path(suite: ir.Suite) -> str:
    """Where a suite lies."""
    return f"suites/{suite.name}.yaml"


def _program(experiment: ir.Experiment, stage: ir.Stage) -> Artifact:
    work = _evaluation(stage)
    place = program(experiment, stage)
    values = {
        "title": experiment.name,
        "notice": notice(),
        "program": place,
        "stage": stage.name,
        "models": work.models,
        "upstream": " ".join(f"--from {model}=RUN_DIR" for model in work.models),
        "suites": tuple(path(suite) for suite in work.suites),
        "data": data(work),
        "limit": work.limit,
        "averaged": work.averaged,
        "batch_size": work.batch_size,
        "max_length": experiment.model.context_length,
        "baselines": work.baselines,
    }
    return Artifact(place, templates.render("evaluate/evaluate.py.j2", values))


def data(work: ir.Evaluation) -> tuple[str, ...]:
    """Data sets that tasks and baselines read, each once."""
    tasks = [task.data for suite in work.suites for task in suite.tasks if task.data is not None]
    return tuple(dict.fromkeys([*tasks, *(str(baseline["data"]) for baseline in work.baselines)]))


def _suite(suite: ir.Suite) -> str:
    """A group of lm-eval tasks. Its prefix keeps it from shadowing one of lm-eval's own."""
    group = f"specc_{suite.name}"
    content: dict[str, Any] = {"group": group, "task": [_task(task) for task in suite.tasks]}
    if suite.apply_chat_template:
        # A group's metadata is free: the runner reads there how lm-eval is to write the prompts.
        content["metadata"] = {"apply_chat_template": True}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    return f"# {notice()}\n{text}"


def _task(task: ir.Task) -> dict[str, Any]:
    """One entry of a group. Names are the same in every variant of an experiment, so that results can be compared."""
    if task.name == BITS_PER_BYTE:
        return {
            "task": f"{task.data}_held_out",
            "dataset_path": "json",
            # The runner puts the file here that preparing the data wrote.
            "dataset_kwargs": {"data_files": {"test": f"{task.data}.validation.jsonl"}},
            "test_split": "test",
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "text",
            "metric_list": [
                {"metric": BITS_PER_BYTE, "aggregation": BITS_PER_BYTE, "higher_is_better": False},
            ],
            "metadata": {"version": 1},
        }
    if task.num_fewshot is None:
        return {"task": task.name}
    return {"task": task.name, "num_fewshot": task.num_fewshot}

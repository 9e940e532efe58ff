"""The evaluation stage: suites of lm-eval tasks over the models of other stages, and baselines on the same bytes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from runners import baseline, checkpoint, facts
from runners.data import DataSet, prepare
from runners.errors import RunError
from runners.events import Events, has_finished
from runners.progress import clock
from runners.run import Run, console, execute, name_of, open_data, recorded
from runners.tokenizer import tokenizer

HARNESS_LOG = "lm_eval.log"
BYTES = {"kind": "byte", "vocab_size": 257, "end_of_document": 256, "chat_template": "none"}
"""What a plan declares for bytes, of which baselines count."""
TYPE_NAMES = {torch.bfloat16: "bf16", torch.float32: "fp32"}


@dataclass(frozen=True)
class Baseline:
    """A simple model, fitted on a data set's training split and scored on its held-out documents."""

    kind: str
    data: str


@dataclass(frozen=True)
class Evaluation:
    """Every decision of an evaluation stage."""

    stage: str
    models: tuple[str, ...]
    """Stages whose last checkpoint is evaluated."""
    suites: tuple[str, ...]
    """Files beside the program, each a group of lm-eval tasks."""
    data: tuple[str, ...]
    """Data sets whose held-out documents are scored."""
    limit: int | None
    """Documents per task at most, the first ones; None for all."""
    batch_size: int
    max_length: int
    """Tokens that the model sees at once."""
    baselines: tuple[Baseline, ...] = ()
    averaged: bool = False
    """Whether the moving averages of the weights are scored."""


@dataclass(frozen=True)
class Suite:
    """A suite with the data in its place."""

    name: str
    group: str
    path: Path
    held_out_tasks: Mapping[str, tuple[str, ...]]
    """By data set: the tasks that score its held-out documents."""
    apply_chat_template: bool = False
    """Whether prompts are written as turns of a chat."""


Results = dict[str, Any]


def evaluate(model: type[nn.Module], cache: type[Any], evaluation: Evaluation) -> None:
    """Run the stage as a program: `--run DIR --from stage=RUN`, one `--from` for each model."""
    execute(evaluation.stage, model, lambda run: _evaluate(run, model, cache, evaluation))


def _evaluate(run: Run, model: type[nn.Module], cache: type[Any], evaluation: Evaluation) -> None:
    out = console()
    if has_finished(run.directory):
        out.print(f"{run.name} is already complete")
        return
    place = facts.device()
    with recorded(run, None, place) as events, quiet_harness(run) as quietly:
        started, before = time.monotonic(), facts.resident_memory()
        _check(run, evaluation)
        data = {name: open_data(run, events, name) for name in evaluation.data}
        suites = [place_data(run, path, data) for path in evaluation.suites]
        for stage in evaluation.models:
            network, step = _load(run, stage, model, place, averaged=evaluation.averaged)
            where = f"{TYPE_NAMES[weight_type(place)]} on {facts.device_name(place)}"
            out.print(f"{stage}: {name_of(run.upstream[stage])}, step {step:,}, {where}")
            for record in _model_records(network, cache, run, stage, suites, evaluation, quietly):
                _tell(events, out.print, record)
        for what in evaluation.baselines:
            for record in _baseline_records(run, what, data[what.data], suites, evaluation.limit):
                _tell(events, out.print, record)
        seconds = time.monotonic() - started
        events.write("measurement", name="duration_s", value=seconds)
        events.write("measurement", name="memory_bytes", value=facts.peak_memory(place, before))
        events.write("run_finished", state="finished", step=None, error=None, seconds=seconds)
        events.sync()
        out.print(f"{run.name} finished in {clock(seconds)}")


def records(stage: str, suite: str, results: Results) -> Iterator[dict[str, Any]]:
    """One record per task and metric of lm-eval's results, in the shape of the `evaluation` event."""
    for task, metrics in results["results"].items():
        for key, value in metrics.items():
            name, comma, filtered = key.partition(",")
            if not comma or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = metrics.get(f"{name}_stderr,{filtered}")
            yield {
                "model": stage,
                "suite": suite,
                "task": task.rpartition("::")[2],  # lm-eval puts the group before tasks written out in it
                "metric": name if filtered == "none" else key,
                "value": float(value),
                "stderr": float(stderr) if isinstance(stderr, int | float) else None,
                "examples": results["n-samples"].get(task, {}).get("effective"),
                "num_fewshot": results["n-shot"].get(task, 0),
                "harness": f"lm_eval {version('lm_eval')}",
            }


def weight_type(place: torch.device) -> torch.dtype:
    """Type of the weights of a model that is evaluated: bf16 on a GPU, as the planner counts them; fp32 on a CPU."""
    return torch.bfloat16 if place.type == "cuda" else torch.float32


def held_out_documents(data: DataSet, limit: int | None) -> list[bytes]:
    """The documents that a task over the held-out split scores, as bytes."""
    with data.held_out.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    return [text.encode("utf-8") for text in texts[:limit]]


def _check(run: Run, evaluation: Evaluation) -> None:
    missing = [stage for stage in evaluation.models if stage not in run.upstream]
    if missing:
        raise RunError(f"the run of stage `{missing[0]}` is not given; add `--from {missing[0]}=RUN_DIR`")
    for what in evaluation.baselines:
        if what.kind != "byte_trigram":
            raise RunError(f"this version has no baseline `{what.kind}`, only `byte_trigram`")


def place_data(run: Run, relative: str, data: Mapping[str, DataSet], folder: Path | None = None) -> Suite:
    """Copy a suite into the run, with `<data set>.validation.jsonl` replaced by the file that was prepared here."""
    text = (run.plan / relative).read_text(encoding="utf-8")
    for name, prepared in data.items():
        quoted = json.dumps(str(prepared.held_out), ensure_ascii=False)  # a JSON string is a YAML scalar
        pieces = re.split(rf"(?<![\w./-]){re.escape(name)}\.validation\.jsonl(?![\w./-])", text)
        text = quoted.join(pieces)
    path = (folder or run.directory / "suites") / Path(relative).name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    group, tasks, metadata = _read_group(path)
    held_out = {name: _tasks_over(tasks, str(prepared.held_out)) for name, prepared in data.items()}
    return Suite(path.stem, group, path, held_out, bool(metadata.get("apply_chat_template")))


def _read_group(path: Path) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
    import yaml  # comes with lm_eval

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return str(content["group"]), list(content["task"]), dict(content.get("metadata") or {})
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise RunError(f"{path.name} is not a group of lm-eval tasks: {error}") from None


def _tasks_over(tasks: Sequence[Any], file: str) -> tuple[str, ...]:
    """Names of the tasks written out in a suite whose data is `file`."""
    written_out = [task for task in tasks if isinstance(task, dict)]
    return tuple(
        str(task["task"])
        for task in written_out
        if file in ((task.get("dataset_kwargs") or {}).get("data_files") or {}).values()
    )


def _load(
    run: Run, stage: str, model: type[nn.Module], place: torch.device, *, averaged: bool
) -> tuple[nn.Module, int]:
    """The model of another stage's last checkpoint, in the type that its weights are evaluated in."""
    found = checkpoint.required(run.upstream[stage])
    found = found.averaged() if averaged else found
    network = model()
    found.load_into(network)
    return network.to(weight_type(place)).to(place), found.step


@contextlib.contextmanager
def _errors_of_children(descriptor: int) -> Iterator[None]:
    """Redirect the error output of programs that are started meanwhile (lm-eval asks git where it is)."""
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


Quietly = Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def quiet_harness(run: Run) -> Iterator[Quietly]:
    """What lm-eval and datasets print goes to a file of the run, and what they cache to a folder that is deleted.

    The environment is read when they are imported, so it is set before.
    """
    with tempfile.TemporaryDirectory(prefix="specc-datasets-") as cache:
        os.environ["HF_DATASETS_CACHE"] = cache
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

        @contextlib.contextmanager
        def quietly() -> Iterator[None]:
            with (
                (run.directory / HARNESS_LOG).open("a", encoding="utf-8") as log,
                contextlib.redirect_stderr(log),
                contextlib.redirect_stdout(log),
                _errors_of_children(log.fileno()),
            ):
                logging.getLogger("lm_eval").setLevel(logging.ERROR)
                yield

        yield quietly


def _model_records(
    network: nn.Module,
    cache: type[Any],
    run: Run,
    stage: str,
    suites: Sequence[Suite],
    evaluation: Evaluation,
    quietly: Quietly,
) -> Iterator[dict[str, Any]]:
    """Records of one model over all suites; lm-eval's own results are kept in the run."""
    for suite in suites:
        results = run_suite(network, cache, run, suite, evaluation, quietly)
        _keep(run.directory / "results" / stage / suite.name, results)
        yield from records(stage, suite.name, results)


def run_suite(
    network: nn.Module, cache: type[Any] | None, run: Run, suite: Suite, evaluation: Evaluation, quietly: Quietly
) -> Results:
    """lm-eval's results, samples included."""
    out = console()  # keeps the real output; lm-eval's goes elsewhere
    with Progress(
        console=out, transient=True, disable=not out.is_terminal, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task(suite.name)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        with quietly():
            return _simple_evaluate(network, cache, run, suite, evaluation, report)


def _simple_evaluate(
    network: nn.Module,
    cache: type[Any],
    run: Run,
    suite: Suite,
    evaluation: Evaluation,
    report: Callable[[int, int], None],
) -> Results:
    own = _is_self_contained(suite)
    if own:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import lm_eval
    from lm_eval.tasks import TaskManager

    from runners.harness import GeneratedModel

    text = tokenizer(run.manifest.tokenizer)
    template = str(run.manifest.tokenizer.get("chat_template", "none"))
    model = GeneratedModel(network, cache, text, evaluation.batch_size, evaluation.max_length, report, template)
    # The index of lm-eval's own 14,000 tasks takes over ten seconds, and is read only where it is needed.
    manager = TaskManager(include_path=str(suite.path.parent), include_defaults=not own)
    found: Results = lm_eval.simple_evaluate(
        model=model,
        tasks=[suite.group],
        task_manager=manager,
        limit=evaluation.limit,
        bootstrap_iters=0 if evaluation.limit == 1 else 1000,
        random_seed=run.manifest.seed,
        numpy_random_seed=run.manifest.seed,
        torch_random_seed=run.manifest.seed,
        fewshot_random_seed=run.manifest.seed,
        apply_chat_template=suite.apply_chat_template,
    )
    return found


def _is_self_contained(suite: Suite) -> bool:
    """Whether every task of the suite is written out in it."""
    _, tasks, _ = _read_group(suite.path)
    return all(isinstance(task, dict) and "dataset_path" in task for task in tasks)


def _keep(folder: Path, results: Results) -> None:
    """Write lm-eval's results, and each task's samples as JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, samples in results.pop("samples", {}).items():
        task = key.rpartition("::")[2]
        lines = (json.dumps(sample, default=str, ensure_ascii=False) + "\n" for sample in samples)
        (folder / f"samples_{task}.jsonl").write_text("".join(lines), encoding="utf-8")
    text = json.dumps(results, indent=2, default=_plain, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Numbers of NumPy as numbers, all else as text."""
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else str(value)


def _baseline_records(
    run: Run, what: Baseline, data: DataSet, suites: Sequence[Suite], limit: int | None
) -> Iterator[dict[str, Any]]:
    """The baseline on every task over the held-out documents of its data set.

    It is fitted on the bytes of the same training documents, whatever tokenizer the models have.
    """
    documents = held_out_documents(data, limit)
    declared = run.manifest if run.manifest.tokenizer["kind"] == "byte" else replace(run.manifest, tokenizer=BYTES)
    in_bytes = prepare(run.experiment, declared, data.name)
    value = baseline.bits_per_byte(baseline.fit(in_bytes.train.open()), documents)
    for suite in suites:
        for task in suite.held_out_tasks[what.data]:
            yield {
                "model": what.kind,
                "suite": suite.name,
                "task": task,
                "metric": "bits_per_byte",
                "value": value,
                "stderr": None,
                "examples": len(documents),
                "num_fewshot": 0,
                "harness": "runners.baseline",
            }


def _tell(events: Events, show: Callable[[str], None], record: Mapping[str, Any]) -> None:
    """Record a result, and show it."""
    events.write("evaluation", **record)
    events.sync()
    around = "" if record["stderr"] is None else f" ± {record['stderr']:.4f}"
    show(f"  {record['model']:<16} {record['task']:<40} {record['metric']:<14} {record['value']:.4f}{around}")

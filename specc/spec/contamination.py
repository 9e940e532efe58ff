"""Documents that a model is trained on and scored by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.kinds.source.huggingface import Huggingface
from specc.kinds.stage.evaluate import Evaluate
from specc.kinds.stage.pretrain import Pretrain
from specc.spec import harness
from specc.spec.lineage import lineage
from specc.spec.spec import Spec


@dataclass(frozen=True)
class Use:
    """A data set that a stage trains on, and a task that scores what came of it."""

    stage: str
    data: str
    suite: str
    task: int

    @property
    def at(self) -> Path:
        """Where the task is written."""
        return ("suites", self.suite, "tasks", self.task)


def check_contamination(spec: Spec) -> Iterator[Finding]:
    """What is trained on and scored: a source of the hub is reported once, with every task that scores it."""
    uses = tuple(_uses(spec))
    for use in uses:
        data = spec.suites[use.suite].tasks[use.task].data
        if data is not None:
            yield from _held_out(spec, use, data)
    for name in dict.fromkeys(use.data for use in uses):
        for key, source in spec.data[name].sources.items():
            if isinstance(source, Huggingface):
                yield from _scored(spec, tuple(use for use in uses if use.data == name), key, source)


def _uses(spec: Spec) -> Iterator[Use]:
    seen: set[tuple[str, str, int]] = set()
    for scored, suites in _scorings(spec):
        models = [stage for model in scored for stage in reversed(lineage(spec, model))]
        trained = [stage for stage in models if hasattr(spec.stages[stage], "data")]
        for suite in suites:
            for index in range(len(spec.suites[suite].tasks)):
                found = [Use(stage, str(getattr(spec.stages[stage], "data", "")), suite, index) for stage in trained]
                new = {(use.data, suite, index): use for use in reversed(found)}
                yield from (use for pair, use in new.items() if pair not in seen)
                seen |= new.keys()


def _scorings(spec: Spec) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Models that are scored, and the suites: after training, and on the way."""
    for name, stage in spec.stages.items():
        if isinstance(stage, Evaluate):
            yield stage.models, stage.suites
        elif isinstance(stage, Pretrain) and stage.evaluation is not None:
            yield (name,), stage.evaluation.suites


def _scored(spec: Spec, uses: tuple[Use, ...], key: str, source: Huggingface) -> Iterator[Finding]:
    """A split of a data set on the hub that tasks of lm-eval score."""
    hits = []
    for use in uses:
        scored = harness.scored(spec.suites[use.suite].tasks[use.task].task)
        found = next((one for one in scored if _same(source, one)), None)
        if found is not None:
            hits.append((use, found))
    if not hits:
        return
    use, found = hits[0]
    at: Path = ("data", use.data, "sources", key)
    written = "split" if "split" in source.model_fields_set else "dataset"
    yield Finding(
        "SPC204",
        f"`{found.dataset}:{found.split}` is trained on in `{use.stage}` and scored in suite `{use.suite}`",
        (
            At((*at, written), f"trained on in `{use.stage}`"),
            *(At((*use.at, "task"), f"scores split `{found.split}`") for use, found in hits),
        ),
        help=_instead(spec, found, key),
    )


def _instead(spec: Spec, found: harness.Scored, key: str) -> str:
    """The split to train on, where the task names one that no task of this spec scores."""
    names = {task.task for suite in spec.suites.values() for task in suite.tasks}
    scored = {what.split for name in names for what in harness.scored(name) if what.dataset == found.dataset}
    train = found.training_split
    return f"train on `split: {train}`" if train and train not in scored else f"leave source `{key}` out"


def _same(source: Huggingface, scored: harness.Scored) -> bool:
    if scored.dataset is None or scored.split is None:
        return False
    splits = {part.strip().partition("[")[0] for part in source.split.split("+")}
    ours, theirs = source.dataset.lower(), scored.dataset.lower()
    # Data sets of the hub's first years were named without their owner, and still answer to that name.
    known = ours == theirs or ("/" not in ours and ours == theirs.rpartition("/")[2])
    configs = source.config is None or scored.config is None or source.config == scored.config
    return known and configs and (scored.split.partition("[")[0] in splits or "all" in splits)


def _held_out(spec: Spec, use: Use, scored: str) -> Iterator[Finding]:
    """The same files in two data sets, of which the one that is trained on holds less of them out."""
    ours, theirs = spec.data[use.data], spec.data[scored]
    if use.data == scored or ours.holdout.share >= theirs.holdout.share:
        return
    places = {place: key for key, source in ours.sources.items() for place in source.places()}
    for key, source in theirs.sources.items():
        place = next((place for place in source.places() if place in places), None)
        if place is None:
            continue
        sources = (("data", use.data, "sources", places[place]), ("data", scored, "sources", key))
        yield Finding(
            "SPC204",
            f"`{place}` is trained on in `{use.stage}` with {ours.holdout} held out, and scored with {theirs.holdout}",
            (At(sources[0], of_key=True), At(sources[1], of_key=True), At((*use.at, "data"))),
            (
                "a hash of the document decides: what the smaller share holds out is part of what the larger one does",
                f"of the documents scored, all but that smaller share were trained on in `{use.stage}`",
            ),
            help=f"write `holdout: {theirs.holdout}` for `{use.data}` too",
        )

"""What follows from a spec before any machine is known: each part says it of itself, as it lowers itself."""

from __future__ import annotations

from collections.abc import Iterator

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.spec.spec import Spec


def derivations(spec: Spec, experiment: ir.Experiment) -> Iterator[ir.Derivation]:
    """Every derived value of the model and of the stages, in the order of the language."""
    yield ir.Derivation(
        "tokenizer.vocab_size", experiment.tokenizer.vocab_size, "Ids in use, special ones included.", None,
        reasons=(f"tokenizer kind `{experiment.tokenizer.kind}` has that many",),
    )  # fmt: skip
    yield from spec.model.derivations(experiment.tokenizer, experiment.model)
    suites = {key: suite.lower(key) for key, suite in spec.suites.items()}
    context = StageContext(
        experiment.model, {data.name: data for data in experiment.data}, suites, experiment.tokenizer
    )
    for stage in experiment.stages:
        derive = getattr(spec.stages[stage.name], "derivations", None)
        if derive is not None:
            yield from derive(stage.name, context, stage.work)
        yield _key(experiment, stage)
    keys = tuple(ir.Input(stage.name, stage.key, f"stages.{stage.name}.key") for stage in experiment.stages)
    hashed = "a content address: the first digits of the SHA-256 of the keys of all stages"
    yield ir.Derivation("identity", experiment.identity, "Which experiment it is.", None, keys, (hashed,))


def _key(experiment: ir.Experiment, stage: ir.Stage) -> ir.Derivation:
    upstream = tuple(ir.Input(name, experiment.stage(name).key, f"stages.{name}.key") for name in stage.after)
    hashed = "a content address: the first digits of the SHA-256 of every identity setting that decides the outcome"
    reads = "seed, tokenizer, model, the stage's own, the data and suites it reads"
    reads += ", and the keys of the stages before it" if upstream else ""
    meaning = "Names the run: a stage with another key runs again."
    return ir.Derivation(f"stages.{stage.name}.key", stage.key, meaning, None, upstream, (hashed, reads))

"""What the objectives of the stages ask of the model and of the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_

from specc.diagnostics import At, Finding
from specc.kinds.attention.multihead import MultiHead
from specc.kinds.objective import OBJECTIVE
from specc.kinds.objective.base import ObjectiveNode
from specc.kinds.objective.place import DECODER, NOTHING, Needs, Place
from specc.spec.language import tags
from specc.spec.spec import Spec


def needed_tokens(spec: Spec) -> Needs:
    """Special tokens for all stages: one tokenizer serves them all."""
    place = _place(spec)
    needs = [objective.needs(place) for _, objective in _objectives(spec) if place.model in objective.models]
    return reduce(or_, needs, NOTHING)


def sees_prefix(spec: Spec) -> bool:
    """Whether a stage trains the model to read a prefix as a whole."""
    place = _place(spec)
    return any(each.sees_prefix(place) for _, each in _objectives(spec) if place.model in each.models)


def check_objectives(spec: Spec) -> Iterator[Finding]:
    """Objectives of another sort of model, values that do not fit, and tokens that the tokenizer does not have."""
    place = _place(spec)
    yield from _check_prefix(spec)
    yield from _check_prediction(spec)
    for name, objective in _objectives(spec):
        at = ("stages", name, "objective")
        if place.model not in objective.models:
            yield _misfit(name, objective, place)
            continue
        yield from objective.check(at, place)
        yield from _check_chunks(spec, name, objective, place)
        if objective.predicts_several and place.depth == 1:
            headline = f"objective `{objective.kind}` needs parts for more than the next token, and the model has none"
            help_text = "add `model.prediction: {depth: 4}`"
            yield Finding("SPC524", headline, (At((*at, "kind")), At(("model",), of_key=True)), help=help_text)
        for key, said in spec.tokenizer.lacks(objective.needs(place)):
            places = (At((*at, "kind")), At(("tokenizer", key)))
            yield Finding("SPC521", f"`{objective.kind}` {said}", places, help=f"add `tokenizer.{key}`")


def _check_chunks(spec: Spec, name: str, objective: ObjectiveNode, place: Place) -> Iterator[Finding]:
    """Logits some at a time, of a model whose head cannot be asked for some."""
    chunk = getattr(spec.stages[name], "loss_chunk", None)
    several, other = objective.predicts_several, place.model != DECODER
    if chunk is None or not (several or other):
        return
    what = f"objective `{objective.kind}` has logits of several tokens" if several else f"the model is an {place.model}"
    at = ("stages", name)
    places = (At((*at, "loss_chunk")), At((*at, "objective", "kind") if several else ("model", "kind")))
    headline = f"`loss_chunk` is for a decoder and one token a position, and {what.replace('_', '-')}"
    yield Finding("SPC341", headline, places, help="leave `loss_chunk` out")


def _check_prefix(spec: Spec) -> Iterator[Finding]:
    """A prefix that is seen as a whole, with scores that are made for the past alone."""
    if not sees_prefix(spec):
        return
    place, attention = _place(spec), spec.model.attention
    stage = next(name for name, each in _objectives(spec) if place.model in each.models and each.sees_prefix(place))
    against: list[tuple[str, tuple[str, ...]]] = []
    if not isinstance(attention, MultiHead):
        against.append((f"attention of kind `{attention.kind}`", ("model", "attention", "kind")))
    elif attention.window is not None:
        against.append((f"a window of {attention.window:,}", ("model", "attention", "window")))
    if spec.model.position.adds_bias:
        against.append((f"position `{spec.model.position.kind}`", ("model", "position", "kind")))
    for what, key in against:
        headline = f"with {what}, this version cannot show a prefix as a whole"
        places = (At(key), At(("stages", stage, "objective", "kind")))
        note = "its scores are made for the past alone: a query would not see what comes after it in the prefix"
        yield Finding("SPC525", headline, places, (note,), help="use `position: {kind: rope}` and no `window`")


def _check_prediction(spec: Spec) -> Iterator[Finding]:
    """Parts of the model that no stage would train."""
    prediction, objectives = getattr(spec.model, "prediction", None), tuple(_objectives(spec))
    if prediction is None or not objectives or any(each.predicts_several for _, each in objectives):
        return
    name, objective = objectives[0]
    headline = f"`prediction` adds {prediction.depth - 1} parts to the model, and no stage trains them"
    at = (At(("model", "prediction"), of_key=True), At(("stages", name, "objective", "kind")))
    note = f"objective `{objective.kind}` of `{name}` asks for the next token alone"
    yield Finding("SPC524", headline, at, (note,), help="use `objective: {kind: multi_token}`, or leave it out")


def _misfit(name: str, objective: ObjectiveNode, place: Place) -> Finding:
    """An objective on a model that it is not for; the help names those that are for the model."""
    meant = " or ".join(f"`{model}`" for model in objective.models)
    headline = f"objective `{objective.kind}` trains a model of kind {meant}, and this one is `{place.model}`"
    fitting = [tags(kind)[0] for kind in OBJECTIVE if place.model in kind.models]
    offered = " or ".join(f"`{kind}`" for kind in fitting)
    at = (At(("stages", name, "objective", "kind")), At(("model", "kind")))
    return Finding("SPC520", headline, at, help=f"use {offered}" if fitting else None)


def _objectives(spec: Spec) -> Iterator[tuple[str, ObjectiveNode]]:
    """Of every stage that has a choice."""
    for name, stage in spec.stages.items():
        objective = getattr(stage, "objective", None)
        if objective is not None:
            yield name, objective


def _place(spec: Spec) -> Place:
    prediction = getattr(spec.model, "prediction", None)
    return Place(spec.model.kind, spec.model.context_length, 1 if prediction is None else prediction.depth)

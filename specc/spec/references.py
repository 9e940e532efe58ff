"""Names that a spec refers to: stages, data sets, suites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.kinds.stage.mention import LANGUAGE_MODEL, MODELS, REWARD_MODEL, Mention
from specc.spec.lineage import upstream
from specc.spec.remedies import replace_word
from specc.spec.spec import Spec


def check_references(spec: Spec) -> Iterator[Finding]:
    """Every name that is used exists, and no stage builds on itself."""
    found: list[Finding] = []
    for look in (_unknown_names, _cycle, _what_stages_leave):
        # What a stage leaves is asked of names that exist, and of stages that have an order.
        found = found or list(look(spec))
    yield from found


def _unknown_names(spec: Spec) -> Iterator[Finding]:
    for name, stage in spec.stages.items():
        for mention in stage.mentions():
            yield from _unknown(spec, ("stages", name, *mention.path), mention)
    for name, suite in spec.suites.items():
        for index, task in enumerate(suite.tasks):
            if task.data is not None:
                where: Path = ("suites", name, "tasks", index, "data")
                yield from _one(task.data, where, spec.data, "SPC211", "data set")
    for name in spec.models:
        if name in spec.stages:
            places = (At(("models", name), of_key=True), At(("stages", name), of_key=True))
            headline = f"`{name}` is the name of a model and of a stage"
            yield Finding("SPC514", headline, places, help="give the model another name")


def _unknown(spec: Spec, at: Path, mention: Mention) -> Iterator[Finding]:
    if mention.sought == "suite":
        yield from _one(mention.name, at, spec.suites, "SPC604", "suite")
    elif mention.sought == "data":
        yield from _one(mention.name, at, spec.data, "SPC211", "data set")
    elif mention.sought == "stage":
        yield from _one(mention.name, at, spec.stages, "SPC510", "stage")
    else:
        yield from _one(mention.name, at, (*spec.stages, *spec.models), "SPC510", "stage or model")


def _one(name: str, at: Path, known: Iterable[str], code: str, what: str) -> Iterator[Finding]:
    choices = list(known)
    if name in choices:
        return
    near = nearest(name, choices)
    listed = ", ".join(f"`{choice}`" for choice in choices) or "none"
    help_text = f"did you mean `{near}`?" if near else f"this spec has {listed}"
    remedy = replace_word(at, name, near, choices) if near else None
    yield Finding(code, f"there is no {what} `{name}`", (At(at),), help=help_text, remedy=remedy)


def _cycle(spec: Spec) -> Iterator[Finding]:
    try:
        TopologicalSorter({name: upstream(spec, name) for name in spec.stages}).prepare()
    except CycleError as error:
        loop = list(reversed(error.args[1]))
        links = [_mention_of(spec, name, other) for name, other in pairwise(loop)]
        places = tuple(At(("stages", name, *link.path)) for name, link in zip(loop, links, strict=False))
        if len(links) == 1:
            yield _own(spec, loop[0], links[0], places)
            return
        yield Finding("SPC506", f"stages start from each other: {' -> '.join(loop)}", places)


def _mention_of(spec: Spec, name: str, other: str) -> Mention:
    """Where a stage names another one as a model."""
    return next(m for m in spec.stages[name].mentions() if m.sought in MODELS and m.name == other)


def _own(spec: Spec, name: str, link: Mention, places: tuple[At, ...]) -> Finding:
    said: dict[Path, str] = {("from",): "starts from itself", ("reference",): "is its own reference"}
    base = getattr(spec.stages[name], "base", name)
    others = [base] if base != name else [key for key, other in spec.stages.items() if other.leaves and key != name]
    help_text = f"use {' or '.join(f'`{link.path[-1]}: {other}`' for other in others)}" if others else None
    if link.sought == "reward":
        help_text = None
    headline = f"stage `{name}` {said.get(link.path, 'waits for its own model')}"
    return Finding("SPC506", headline, places, help=help_text)


def _what_stages_leave(spec: Spec) -> Iterator[Finding]:
    """Only a stage that trains leaves a model behind; and one that scores writes nothing."""
    for name, stage in spec.stages.items():
        for mention in stage.mentions():
            other = spec.stages.get(mention.name) if mention.sought in MODELS else None
            wanted = REWARD_MODEL if mention.sought == "reward" else LANGUAGE_MODEL
            if other is None or other.leaves == wanted:
                continue
            left = [key for key, stage in spec.stages.items() if stage.leaves == wanted and key != name]
            places = (At(("stages", name, *mention.path)), At(("stages", mention.name), of_key=True))
            what = f"stage `{mention.name}` of kind `{other.kind}` leaves"
            help_text = f"{wanted}s come from {', '.join(f'`{key}`' for key in left)}" if left else None
            if other.leaves is None:
                help_text = help_text and help_text.removeprefix("language ")
                yield Finding("SPC511", f"{what} no model behind", places, help=help_text)
            else:
                yield Finding("SPC511", f"{what} a {other.leaves}, and a {wanted} is asked for", places, help=help_text)

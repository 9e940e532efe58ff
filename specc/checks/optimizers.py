"""Rules of optimizers, held against the weights of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from math import ceil

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.ir import Component, Experiment, OptimizerRule, Stage, Training, Weight

_TABLES = ("embedding.", "position_embedding.", "lm_head.")
_SAFE_RATE = 3e-4
"""A learning rate of AdamW for examples: within a factor of five of GPT-3's at every size."""
_MUON_RATE = 5e-3
"""Above this a rate of Muon is one that AdamW was hardly ever given, at any size."""
_MOST_RULES = 64
"""Weights in blocks that are not treated alike: beyond this nobody writes the rules by hand."""


def check_rules(experiment: Experiment) -> Iterator[Finding]:
    """Patterns that match no weight, and rules whose weights all went to an earlier one."""
    for stage, work in _with_rules(experiment):
        names = [weight.name for weight in work.trained(experiment.model)]
        for index, rule in enumerate(work.rules[:-1]):
            matched = [name for name in names if rule.takes(name)]
            if not matched:
                yield _no_weight(stage, index, rule, names)
            elif all(_owner(name, work.rules) < index for name in matched):
                yield _taken_before(stage, index, work.rules, names)


def check_muon(experiment: Experiment) -> Iterator[Finding]:
    """An optimizer for matrices that is given something else, or the tables at both ends of the model."""
    for stage, work in _with_rules(experiment):
        trained = work.trained(experiment.model)
        given = [weight for weight in trained if _for_matrices(work.optimizer_of(weight.name))]
        others = [weight for weight in given if len(weight.sizes) != 2 or weight.stacked]
        matrices = [weight for weight in given if len(weight.sizes) == 2 and not weight.stacked]
        tables = [weight.name for weight in matrices if weight.name.startswith(_TABLES) and not work.adapter]
        names = [weight.name for weight in others]
        meant = {*names, *tables}
        spared = [weight.name for weight in trained if weight.name not in meant]
        if others:
            yield _vectors(stage, work, others, tables, _help(work, [*names, *tables], spared))
        elif tables:
            yield _tables(stage, work, tables, _help(work, tables, spared))


def check_own_rates(experiment: Experiment) -> Iterator[Finding]:
    """Rates that the parametrisation gives, beside rates that rules or another optimizer give."""
    if not experiment.model.has_own_rates:
        return
    for stage, _ in _with_rules(experiment):
        yield Finding(
            "SPC121",
            "`mup` gives hidden matrices their learning rate, and so does the optimizer",
            (At(("stages", stage.name, "optimizer")), At(("model", "init", "kind"))),
            ("its rates are derived for one AdamW over all weights (arXiv:2203.03466, table 8)",),
            help="use `optimizer: {kind: adamw}` without rules, or `init: {kind: depth_scaled}`",
        )


def check_relative_steps(experiment: Experiment) -> Iterator[Finding]:
    """A learning rate of Adafactor that its own limit overtakes within the stage."""
    for stage, work in _with_rules(experiment):
        last = len(work.rules) - 1
        for index, rule in enumerate(work.rules):
            peak = rule.optimizer.fields["learning_rate"]
            reached = ceil(peak**-2)
            if rule.optimizer.fields["kind"] != "adafactor" or work.steps is None or reached >= work.steps:
                continue
            own: Path = ("learning_rate",) if index == last else ("rules", index, "optimizer", "learning_rate")
            limit = "Adafactor moves by at most 1 / sqrt(step)"
            yield Finding(
                "SPC340",
                f"from step {reached:,} of {work.steps:,} on, {limit}, below {peak:g}",
                (At(_at(stage, *own)), At(("stages", stage.name, "duration"))),
                ("a relative step is the smaller of both (Shazeer and Stern 2018, arXiv:1804.04235, algorithm 5)",),
                severity="note",
            )


def _with_rules(experiment: Experiment) -> Iterator[tuple[Stage, Training]]:
    """Stages with more, or other, than one AdamW for everything."""
    for stage in experiment.stages:
        work = stage.work
        if isinstance(work, Training) and (len(work.rules) > 1 or work.optimizer.fields["kind"] != "adamw"):
            yield stage, work


def _for_matrices(optimizer: Component) -> bool:
    return bool(optimizer.values.get("matrices_only", False))


def _owner(name: str, rules: Sequence[OptimizerRule]) -> int:
    """Index of the rule that a weight goes to."""
    return next(index for index, rule in enumerate(rules) if rule.takes(name))


def _at(stage: Stage, *path: str | int) -> Path:
    return ("stages", stage.name, "optimizer", *path)


def _no_weight(stage: Stage, index: int, rule: OptimizerRule, names: list[str]) -> Finding:
    known = _patterns(names)
    near = nearest(rule.match, known)
    ends = sorted({f"`*.{name.rpartition('.')[2]}`" for name in names})
    help_text = (
        f"did you mean `{near}`?" if near else f"names of weights end in {', '.join(ends)}, such as `{names[0]}`"
    )
    headline = f"pattern `{rule.match}` matches no weight"
    return Finding("SPC306", headline, (At(_at(stage, "rules", index, "match")),), help=help_text)


def _patterns(names: Iterable[str]) -> list[str]:
    """Patterns that match something: beginnings and ends of names, the numbers of blocks left open."""
    found: dict[str, None] = {}
    for name in names:
        parts = _open(name).split(".")
        for cut in range(1, len(parts)):
            found |= {f"*.{'.'.join(parts[cut:])}": None, f"{'.'.join(parts[:cut])}.*": None}
        found[".".join(parts)] = None
    return list(found)


def _taken_before(stage: Stage, index: int, rules: Sequence[OptimizerRule], names: list[str]) -> Finding:
    rule = rules[index]
    matched = [name for name in names if rule.takes(name)]
    first = min(_owner(name, rules) for name in matched)
    moved = [rule, *(other for place, other in enumerate(rules) if place != index)]
    kept = {_owner(name, moved) for name in names}
    # After the move, the rules that had weights before it must still have some.
    works = all(place + 1 in kept for place in {_owner(name, rules) for name in names} if place < index)
    return Finding(
        "SPC312",
        f"rule `{rule.match}` takes nothing: its {_count(len(matched), 'weight')} went to rules before it",
        (At(_at(stage, "rules", index, "match")), At(_at(stage, "rules", first, "match"), "the first match decides")),
        help=f"put it before `{rules[first].match}`" if works else "leave it out, or narrow the rules before it",
    )


def _help(work: Training, names: list[str], spared: list[str]) -> str:
    """Rules that take all of `names` and none of the weights that are `spared`."""
    rate = work.optimizer.fields["learning_rate"]
    rate = rate if _like_adamw(work.optimizer) and rate <= _MUON_RATE else _SAFE_RATE
    adamw = f"optimizer: {{kind: adamw, learning_rate: {_yaml(rate)}}}"
    folded, kept = _folded(names, spared)
    patterns = _covering(folded, kept) if len(folded) <= _MOST_RULES else folded[:1]
    rules = ", ".join(f'{{match: "{pattern}", {adamw}}}' for pattern in patterns)
    if len(folded) > _MOST_RULES:
        return f"send them to AdamW, first in `rules`: {rules}, and so on for each of them"
    if len(work.rules) > 1:
        return f"send them to AdamW, first in `rules`: {rules}"
    return f"send them to AdamW: `rules: [{rules}]`"


def _vectors(stage: Stage, work: Training, others: list[Weight], tables: list[str], help_text: str) -> Finding:
    vectors = all(weight.is_vector for weight in others)
    what = _count(len(others), "vector" if vectors else "weight") + ("" if vectors else " of other shapes")
    headline = f"`muon` takes matrices, and it is given {what}"
    places = tuple(At(_at(stage, *place)) for place in _places(work, [weight.name for weight in others]))
    listed = " and ".join(f"`{name}`" for name in tables)
    notes = (f"it is given {listed} too: a table is for AdamW as well, see SPC311",) if tables else ()
    return Finding("SPC305", headline, places, notes, help=help_text)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _like_adamw(optimizer: Component) -> bool:
    """Whether learning rates mean what they mean for AdamW."""
    return optimizer.fields.get("step_size") != "original"


def _yaml(number: float) -> str:
    """A number that YAML 1.2 reads as one: 6.0e-4."""
    digits, _, exponent = repr(float(number)).partition("e")
    return f"{number}" if not exponent else f"{digits if '.' in digits else digits + '.0'}e{int(exponent)}"


def _tables(stage: Stage, work: Training, tables: list[str], help_text: str) -> Finding:
    listed = " and ".join(f"`{name}`" for name in tables)
    return Finding(
        "SPC311",
        f"`muon` is for the matrices inside the model, and it is given {listed}",
        tuple(At(_at(stage, *place)) for place in _places(work, tables)),
        ("rows of a table are looked up one by one, and an orthogonal step mixes them (Jordan et al. 2024)",),
        help=help_text,
        severity="warning",
    )


def _places(work: Training, names: list[str]) -> Iterator[Path]:
    """Where the rules stand that gave these weights away."""
    for index in sorted({_owner(name, work.rules) for name in names}):
        yield ("kind",) if index == len(work.rules) - 1 else ("rules", index, "match")


def _folded(names: list[str], spared: list[str]) -> tuple[list[str], list[str]]:
    """Both with one name for all blocks, `layers.*.norm.weight`, but for names that are on both sides then."""
    torn = {_open(name) for name in names} & {_open(name) for name in spared}

    def fold(listed: list[str]) -> list[str]:
        return list(dict.fromkeys(name if _open(name) in torn else _open(name) for name in listed))

    return fold(names), fold(spared)


def _open(name: str) -> str:
    """The pattern of a name in whatever block."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _covering(names: list[str], spared: list[str]) -> list[str]:
    """Few patterns that match every one of `names` and none of `spared`."""
    left, chosen = list(names), []
    while left:
        choices = {pattern for name in left for pattern in _ends(name)}
        legal = [pattern for pattern in choices if not any(fnmatchcase(name, pattern) for name in spared)]
        best = min(
            legal, key=lambda pattern: (-sum(fnmatchcase(name, pattern) for name in left), len(pattern), pattern)
        )
        chosen.append(best)
        left = [name for name in left if not fnmatchcase(name, best)]
    return chosen


def _ends(name: str) -> Iterator[str]:
    """The name, and patterns for its ends: `*.bias`, `*norm.weight`."""
    yield name
    yield f"*{name}"
    for index, mark in enumerate(name):
        if mark in "._":
            yield f"*{name[index:]}"
        if mark == "_":
            yield f"*{name[index + 1 :]}"

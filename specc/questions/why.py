"""Where a value comes from: written in a file, a preset or an override, the language's default, or derived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from specc import ir
from specc.diagnostics import Span
from specc.diagnostics.diagnostic import Path
from specc.planning import derivations as planned
from specc.source import Source
from specc.source.tree import Mapping, Node, Scalar, Sequence, child
from specc.spec import language
from specc.spec.derivations import derivations
from specc.spec.settings import settings
from specc.spec.spec import Spec


@dataclass(frozen=True)
class Replaced:
    """A value that another one took the place of."""

    text: str
    span: Span


@dataclass(frozen=True)
class Answer:
    """One value and where it comes from."""

    path: str
    value: Any
    origin: str
    """In a word: spec, preset, override, default, derived or planned."""
    meaning: str
    effect: str | None = None
    """Class of a setting; None for what is derived."""
    span: Span | None = None
    chain: tuple[str, ...] = ()
    """From the spec to the preset that wrote it."""
    replaced: tuple[Replaced, ...] = ()
    """The last one first."""
    derivation: ir.Derivation | None = None


def answers(source: Source, spec: Spec, plan: ir.Plan | None) -> tuple[Answer, ...]:
    """Every value of a spec in the order of the language, then what is derived. Without a plan only what was said."""
    found = {setting.path: _setting(source, spec, setting) for setting in settings(spec)}
    if plan is not None:
        told = {each.path: _derived(each, "derived") for each in derivations(spec, plan.experiment)}
        told |= {each.path: _derived(each, "planned") for each in planned.derivations(plan)}
        # What `auto` became stands in the place of `auto`.
        found = {path: _resolved(answer, _became(answer, told)) for path, answer in found.items()}
        found |= {path: answer for path, answer in told.items() if path not in found}
    sections = list(dict.fromkeys(_section(path) for path in found))
    return tuple(sorted(found.values(), key=lambda answer: sections.index(_section(answer.path))))


def below(known: tuple[Answer, ...], path: str) -> tuple[Answer, ...]:
    """The answer at a path, or all those below it."""
    exact = tuple(answer for answer in known if answer.path == path)
    return exact or tuple(answer for answer in known if answer.path.startswith(f"{path}."))


def near(known: tuple[Answer, ...], path: str) -> tuple[str, ...]:
    """Paths that an unknown one may have been meant to be: those that end so, else those that are spelt alike."""
    paths = [answer.path for answer in known]
    ends = [other for other in paths if other.endswith(f".{path}")]
    last = path.rpartition(".")[2]
    ends = ends or [other for other in paths if other.rpartition(".")[2] == last]
    alike = get_close_matches(path, paths, n=3, cutoff=0.6)
    return tuple(dict.fromkeys([*(other for other in alike if other in ends), *ends, *alike]))[:3]


def _section(path: str) -> tuple[str, ...]:
    """What is listed together: a stage, or a whole section of the spec."""
    parts = path.split(".")
    return tuple(parts[:2]) if parts[0] == "stages" else tuple(parts[:1])


def _derived(derivation: ir.Derivation, origin: str) -> Answer:
    return Answer(derivation.path, derivation.value, origin, derivation.meaning, derivation=derivation)


def _became(answer: Answer, told: dict[str, Answer]) -> Answer | None:
    """What an `auto` became: the value derived at its own path, or the planner's in the layout."""
    if answer.value != "auto":
        return None
    return told.get(answer.path) or told.get(answer.path.replace(".parallelism.", ".layout."))


def _resolved(answer: Answer, derived: Answer | None) -> Answer:
    if derived is None:
        return answer
    place = (answer.span, answer.chain, answer.replaced)
    return Answer(
        answer.path, derived.value, derived.origin, answer.meaning, answer.effect, *place, derivation=derived.derivation
    )


def _setting(source: Source, spec: Spec, setting: ir.Setting) -> Answer:
    path, node = _walk(source.root, setting.path)
    meaning = _meaning(spec, setting.path)
    if node is None:
        return Answer(setting.path, setting.value, "default", meaning, setting.effect)
    replaced = _replaced(source.root, path)
    file = node.span.file
    origin = "spec" if file == source.file else "override" if file.startswith("--set ") else "preset"
    chain = source.chain(file) if origin == "preset" else ()
    return Answer(setting.path, setting.value, origin, meaning, setting.effect, node.span, chain, replaced)


def _meaning(spec: Spec, dotted: str) -> str:
    """What the field means that holds a value; of an item or a named entry, the field around it."""
    node: Any = spec
    meaning = ""
    for part in dotted.split("."):
        if isinstance(node, BaseModel):
            info = language.fields(type(node))[part]
            meaning = info.description or ""
            name = next(name for name, other in type(node).model_fields.items() if other is info)
            node = getattr(node, name)
        else:
            node = node[int(part)] if isinstance(node, tuple) else node[part]
    return meaning


def _walk(root: Node, dotted: str) -> tuple[Path, Node | None]:
    """The path with indices as numbers, and what was written there; None where nothing was."""
    path: list[str | int] = []
    node: Node | None = root
    for part in dotted.split("."):
        step: str | int = int(part) if isinstance(node, Sequence) and part.isdigit() else part
        path.append(step)
        node = None if node is None else child(node, step)
    return tuple(path), node


def _replaced(root: Node, path: Path) -> tuple[Replaced, ...]:
    """What stood at a path before, the last one first, each place once."""
    before = {node.span: node for node in reversed(list(_before(root, path)))}
    return tuple(Replaced(_text(node), node.span) for node in reversed(before.values()))


def _before(node: Node, path: Path) -> Iterator[Node]:
    """What a value replaced, then what a whole section around it did."""
    below = child(node, path[0]) if path else None
    if below is not None:
        yield from _before(below, path[1:])
    if node.replaced is not None:
        found = _at(node.replaced, path)
        if found is not None:
            yield found
        yield from _before(node.replaced, path)


def _at(node: Node, path: Path) -> Node | None:
    found: Node | None = node
    for part in path:
        found = None if found is None else child(found, part)
    return found


def _text(node: Node) -> str:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return f"[{', '.join(_text(item) for item in node.items)}]"
    assert isinstance(node, Mapping)
    return f"{{{', '.join(f'{key}: {_text(entry.node)}' for key, entry in node.entries.items())}}}"

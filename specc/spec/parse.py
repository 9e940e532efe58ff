"""Source to Spec: pydantic decides what is legal, and every refusal becomes a diagnostic at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from string import punctuation

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from specc.diagnostics import At, Diagnostic, Finding, Remedy
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.source import Source, SpecErrors
from specc.source.tree import Mapping, Node, Scalar, Sequence, child, to_data
from specc.spec import language, repairs
from specc.spec.measures import bad_quantity
from specc.spec.placeholders import check_placeholders
from specc.spec.refusals import ARITY, KIND, MISSING, UNKNOWN, Refusal, called, cut, refusals, shown, text
from specc.spec.remedies import move_key, rename_key, replace_value, replace_word
from specc.spec.spec import Spec
from specc.spec.synonyms import FOREIGN, SYNONYMS

_WHOLE, _NUMBER, _TEXT = "a whole number", "a number", "text"
_TAKES = {
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "finite_number": "a finite number",
    "string_type": _TEXT,
    "bool_type": "`true` or `false`",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing",
}
_NUMBERS = ("int_type", "int_from_float", "float_type", "finite_number")
# Words that were booleans in YAML 1.1.
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
# What a person reads at once. A file with more is another file than was meant, or was written by a program.
MOST = 100
_LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}
_LENGTHS = ("too_short", "string_too_short", "string_too_long", ARITY)


def parse(source: Source) -> Spec:
    """The spec, or SpecErrors with one diagnostic a mistake."""
    misplaced = list(islice(check_placeholders(source.root), MOST))
    try:
        spec = Spec.model_validate(to_data(source.root))
        if not misplaced:
            return spec
        findings = []
    except ValidationError as error:
        findings = _findings(source.root, error.errors(include_url=False, include_context=True))
    at = {finding.at[0].path for finding in misplaced}
    findings = [*misplaced, *(finding for finding in findings if finding.at[0].path not in at)]
    diagnostics = sorted(
        (source.locate(finding) for finding in findings), key=lambda found: _reading_order(source, found)
    )
    raise SpecErrors(tuple(diagnostics), source.texts)


def not_shown(count: int) -> Iterator[Finding]:
    """How many mistakes there are beyond those that are put into words."""
    if count > 0:
        headline = f"{count:,} more mistakes are not shown"
        yield Finding(
            "SPC040", headline, (At((), of_key=True),), help="mend those above first, or look whether this is a spec"
        )


def _reading_order(source: Source, found: Diagnostic) -> tuple[bool, int, int, int]:
    """As a person reads: overrides, then file by file from the top; how many more there are comes last."""
    span = found.labels[0].span
    files = list(source.texts)
    return found.code == "SPC040", files.index(span.file) if span.file in files else 0, span.line, span.column


def _findings(root: Mapping, errors: list[ErrorDetails]) -> list[Finding]:
    preset = language.preset_of(root.entries)
    if preset is not None:
        return [_of_preset(root, preset)]
    nameless = list(repairs.nameless(root))
    sections = [finding.at[0].path[:-1] for finding in nameless]
    groups = refusals(root, errors[:MOST])
    groups = [group for group in groups if not any(group[0].path[: len(above)] == above for above in sections)]
    findings = [_finding(root, group) for group in _together(groups)]
    return [*nameless, *findings, *not_shown(len(errors) - MOST)]


def _of_preset(root: Mapping, section: tuple[str, ...]) -> Finding:
    """A file that is no spec, and a section of one instead."""
    *above, last = (part.replace(language.ANY, "NAME") for part in section)
    shown = f"{last}: {{extends: {root.span.file}}}"
    for part in reversed(above):
        shown = f"{part}: {{{shown}}}"
    headline = f"this file has the keys of `{'.'.join([*above, last])}` and none of a spec: it is a preset"
    return Finding("SPC003", headline, (At((next(iter(root.entries)),), of_key=True),), help=f"use it as `{shown}`")


def _together(groups: list[list[Refusal]]) -> list[list[Refusal]]:
    """Groups, those in one that name keys which the same section lacks."""
    lacking: dict[Path, list[Refusal]] = {}
    joined: list[list[Refusal]] = []
    for group in groups:
        if group[0].type != MISSING:
            joined.append(group)
        elif group[0].path in lacking:
            lacking[group[0].path].append(group[0])
        else:
            lacking[group[0].path] = [group[0]]
            joined.append(lacking[group[0].path])
    return joined


def _finding(root: Mapping, group: list[Refusal]) -> Finding:
    first = group[0]
    if first.of_name:
        return _bad_name(root, first)
    if first.type == UNKNOWN:
        return _unknown_key(root, first)
    if first.type == MISSING:
        return _missing_keys(root, group)
    if first.type == KIND:
        return _unknown_kind(root, first)
    if first.type.startswith("quantity"):
        return bad_quantity(first)
    if first.type in _LIMITS:
        return _out_of_range(group)
    if first.type in _LENGTHS:
        return _wrong_length(root, first)
    if first.type == "string_pattern_mismatch":
        headline = f"{called(first)} takes a word, not {shown(first.node)}"
        return Finding("SPC004", headline, (At(first.path),), help=_allowed(first))
    return _wrong_type(root, group)


def _bad_name(root: Mapping, refusal: Refusal) -> Finding:
    name = language.noun(refusal.path, root)
    headline = f"`{cut(str(refusal.path[-1]))}` is no name for {_article(name)}"
    return Finding("SPC004", headline, (At(refusal.path, of_key=True),), help=_allowed(refusal))


def _allowed(refusal: Refusal) -> str:
    """The words that a pattern or a limit on their length lets through."""
    if refusal.type == "string_too_long":
        return f"use at most {refusal.context['max_length']} characters"
    if refusal.type == "string_too_short":
        return f"use at least {refusal.context['min_length']} character"
    pattern = re.compile(refusal.context["pattern"])
    marks = [mark for mark in punctuation if pattern.search(f"a{mark}a")]
    starts = [word for word, first in (("a letter", "a"), ("a digit", "1")) if pattern.search(first)]
    if len(marks) == len(punctuation) or not starts:
        return f"it must match `{pattern.pattern}`"
    listed = _listed(["letters", "digits", *(f"`{mark}`" for mark in marks)], "and")
    anywhere = all(pattern.search(mark) for mark in marks)
    return f"use {listed}" + ("" if anywhere else f", and start with {' or '.join(starts)}")


def _unknown_key(root: Mapping, refusal: Refusal) -> Finding:
    key, path = refusal.key or "", refusal.path
    headline = f"{language.section_name(path, root)} has no key `{cut(key)}`"
    at = (At((*path, key), of_key=True),)
    return Finding("SPC003", headline, at, help=_instead(root, refusal), remedy=_remedy(root, path, key))


def _instead(root: Mapping, refusal: Refusal) -> str:
    """What an unknown key was meant to be, or where it belongs."""
    key, path = refusal.key or "", refusal.path
    meant = "kind" if not language.keys(path, root) else language.meant(path, root, key)
    if meant is not None:
        return f"did you mean `{meant}`?"
    word = SYNONYMS.get(key, key)
    others = language.kinds(path, root, having=key)
    word = key if others else word
    others = others or language.kinds(path, root, having=word)
    if others:
        return f"`{word}` is a key of {'kind' if len(others) == 1 else 'kinds'} {_list(others)}"
    elsewhere = language.where(word, root, path)
    if elsewhere:
        return f"`{word}` belongs {elsewhere[0]}"
    near = language.nearest_key(path, root, key)
    return f"did you mean `{near}`?" if near else f"its keys are {_list(language.keys(path, root))}"


def _remedy(root: Mapping, path: Path, key: str) -> Remedy | None:
    """The remedy of an unknown key: the same order of guesses as in `_instead`."""
    meant = "kind" if not language.keys(path, root) else language.meant(path, root, key)
    if meant is not None:
        return rename_key(root, path, key, meant, _refused)
    if language.kinds(path, root, having=SYNONYMS.get(key, key)):
        return None
    if language.where(SYNONYMS.get(key, key), root, path):
        return move_key(root, path, key, _mistakes)
    near = language.nearest_key(path, root, key)
    return None if near is None else rename_key(root, path, key, near, _refused)


def _refused(root: Node, path: Path) -> bool:
    """Whether a value cannot stand where it does: of a section its shape, of anything else whatever is in it."""
    try:
        Spec.model_validate(to_data(root))
    except ValidationError as error:
        assert isinstance(root, Mapping)
        errors = [found for found in error.errors(include_url=False) if path[-1] in found["loc"]]
        for refusal in (group[0] for group in refusals(root, errors)):
            of_shape = refusal.path == path and refusal.key is None and refusal.type != KIND
            inside = refusal.path[: len(path)] == path and not isinstance(language.node_at(path, root), Mapping)
            if of_shape or inside:
                return True
    return False


def _mistakes(root: Mapping) -> int:
    try:
        Spec.model_validate(to_data(root))
    except ValidationError as error:
        return error.error_count()
    return 0


def _missing_keys(root: Mapping, group: list[Refusal]) -> Finding:
    path, needed = group[0].path, [refusal.key or "" for refusal in group]
    headline = f"{language.section_name(path, root)} needs {_listed([f'`{key}`' for key in needed], 'and')}"
    at = (At(path, of_key=True),)
    if "kind" in needed:
        usual = repairs.with_kind(root, path) if len(needed) == 1 else None
        kinds = _kinds(language.kinds(path, root)) + (f"; by default `{usual}`" if usual else "")
        return Finding("SPC005", headline, at, help=kinds)
    if not path and set(root.entries) == {"model"}:
        use = f"`extends: {root.span.file}` in a spec that has them"
        return Finding("SPC005", headline, at, ("a file with `model` alone is a preset",), help=f"use it as {use}")
    meaning = language.describe((*path, needed[0]), root) if len(needed) == 1 else None
    return Finding("SPC005", headline, at, help=f"`{needed[0]}`: {meaning}" if meaning else None)


def _unknown_kind(root: Mapping, refusal: Refusal) -> Finding:
    kinds = language.kinds(refusal.path, root)
    name = language.noun(refusal.path, root)
    written = child(refusal.node, "kind") if refusal.node is not None else None
    at = (At((*refusal.path, "kind")),)
    if not isinstance(written, Scalar) or written.value is None:
        return Finding("SPC006", f"the {name} kind is a word, not {shown(written)}", at, help=_kinds(kinds))
    near = None if written.text.lower() in FOREIGN else nearest(written.text, kinds)
    help_text = f"did you mean `{near}`?" if near else _kinds(kinds)
    remedy = replace_word(at[0].path, written.text, near, kinds) if near else None
    return Finding("SPC006", f"no {name} kind `{cut(written.text)}`", at, help=help_text, remedy=remedy)


def _kinds(kinds: list[str]) -> str:
    return f"its {'kinds are' if len(kinds) > 1 else 'kind is'} {_list(kinds)}"


def _out_of_range(group: list[Refusal]) -> Finding:
    first = group[0]
    limit, words_of = _LIMITS[first.type]
    words = [word for refusal in group[1:] for word in _expected(refusal)]
    must = " or ".join([words_of.format(_written(first.context[limit])), *words])
    return Finding("SPC007", f"{called(first)} must be {must}, not {shown(first.node)}", (At(first.path),))


def _wrong_length(root: Mapping, refusal: Refusal) -> Finding:
    name, at = called(refusal), (At(refusal.path),)
    if refusal.type == "too_short" or refusal.type == "string_too_short":
        needs = "at least one " + ("character" if refusal.type.startswith("string") else "entry")
        return Finding("SPC004", f"{name} is empty: it needs {needs}", at, help=_meaning(root, refusal))
    if refusal.type == "string_too_long":
        most = refusal.context["max_length"]
        headline = f"{name} takes at most {most} characters, not {len(text(refusal.node)):,}"
        return Finding("SPC004", headline, at, help=_meaning(root, refusal))
    length = language.length(refusal.path, root)
    takes = f"at most {refusal.context.get('max_length')}" if length is None else str(length)
    written = len(refusal.node.items) if isinstance(refusal.node, Sequence) else 0
    headline = f"{name} takes {takes} {'value' if takes.endswith(' 1') or takes == '1' else 'values'}, not {written}"
    return Finding("SPC004", headline, at, help=_meaning(root, refusal))


def _wrong_type(root: Mapping, group: list[Refusal]) -> Finding:
    first = group[0]
    takes = list(dict.fromkeys(word for refusal in group for word in _expected(refusal)))
    written = shown(first.node)
    words = [word.strip("`") for word in takes if word.startswith("`")]
    near = _BOOLEANS.get(written.strip("`").lower()) if first.type == "bool_type" else _near(first, words)
    help_text = f"did you mean `{near}`?" if near else _instead_of(root, first)
    headline = f"{called(first)} takes {' or '.join(takes)}, not {written}"
    remedy = None
    if near:
        is_word = first.type == "bool_type"
        remedy = replace_value(first.path, near) if is_word else replace_word(first.path, text(first.node), near, words)
    return Finding("SPC004", headline, (At(first.path),), help=help_text, remedy=remedy)


def _near(refusal: Refusal, words: list[str]) -> str | None:
    """The word that was meant; none for a number, nor for a name that the field has and the language has not."""
    node = refusal.node
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or node.text.lower() in FOREIGN:
        return None
    return nearest(node.text, words)


def _instead_of(root: Mapping, refusal: Refusal) -> str | None:
    """A value in the right shape, where that is plain; else what the key means, which tells nobody a number."""
    if refusal.path == ("specc",):
        return "this specc reads specs of version 1"
    shaped = repairs.of_shape(root, refusal)
    if shaped is not None:
        return f"write `{shaped}`"
    if refusal.type in _NUMBERS:
        return repairs.example(root, refusal)
    return (repairs.example(root, refusal) if refusal.type == "tuple_type" else None) or _meaning(root, refusal)


def _expected(refusal: Refusal) -> list[str]:
    if refusal.type == "literal_error":
        words = str(refusal.context["expected"]).replace(" or ", ", ").split(", ")
        return [f"`{word.strip(chr(39))}`" for word in words]
    return [_TAKES.get(refusal.type, refusal.type.replace("_", " "))]


def _meaning(root: Mapping, refusal: Refusal) -> str | None:
    """What the key means that holds a value, or the list that it stands in."""
    path = refusal.path
    while path and isinstance(path[-1], int):
        path = path[:-1]
    meaning = language.describe(path, root)
    return f"`{path[-1]}`: {meaning}" if meaning else None


def _written(limit: object) -> str:
    return f"{limit:g}" if isinstance(limit, float) else f"{limit:,}"


def _list(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _listed(words: list[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"

"""Specs with something wrong: the shipped ones, mutated. The same seed gives the same spec on every machine.

`python -m tests.spec.mutations 0 1000` checks those of a thousand seeds and prints what was found.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from specc.diagnostics.render import FORMATS, render
from specc.driver import check
from specc.source import read
from specc.source.tree import to_data
from tests.conftest import ROOT

Step = str | int
# Presets that are parts of specs are wrong as they are.
SPECS = sorted(path for path in (ROOT / "specs").rglob("*.yaml") if not {"clusters", "models"} & {*path.parts})
WORDS = (
    "",
    " ",
    "~",
    "null",
    "no",
    "0",
    "-1",
    "1e400",
    ".nan",
    "1e3000 tokens",
    "\u202e",
    "é\u0301",
    "漢字",
    "\U0001f525",
)
HUGE = (10**400, -(10**18), 1e308, "x" * 100_000, list(range(5_000)), {f"k{i}": i for i in range(3_000)}, "[" * 3_000)
STRANGE = (None, True, False, 0, -1, 0.5, 2**63, "x", [], {}, [[]], [{}], {"": ""}, {"kind": "x"}, {"extends": "x"})
LAUGHS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
PREFIXES = (
    "---\n",
    "%YAML 1.1\n---\n",
    "\ufeff",
    "\t",
    "a0: &a0 [x, x, x]\n" + LAUGHS,
    "&a [*a]\n",
    "x: &x {y: *x}\n",
    "extends: spec.yaml\n",
    "? [a]\n: b\n",
    "<<: {a: 1}\n",
    "!!python/object:os.system x\n",
)


def mutated(seed: int) -> str:
    """The text of one spec with one to three things wrong."""
    chance = Random(seed)
    path = chance.choice(SPECS)
    kind = chance.random()
    if kind < 0.3:
        # One number that is another number, in a spec that is right otherwise: what cross-field checks are about.
        return json.dumps(_at_random(_nudge)(to_data(read(path).root), chance), default=list)
    if kind < 0.6:
        text = path.read_text(encoding="utf-8")
        for _ in range(chance.randint(1, 3)):
            text = chance.choice(TEXT)(text, chance)
        return text
    data = to_data(read(path).root)
    for _ in range(chance.randint(1, 3)):
        data = chance.choice(TREE)(data, chance)
    return json.dumps(data, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1]), default=list)


def paths(data: Any, above: tuple[Step, ...] = ()) -> list[tuple[Step, ...]]:
    """Every key and item below, outermost first."""
    if isinstance(data, dict):
        items: list[tuple[Step, Any]] = list(data.items())
    elif isinstance(data, list | tuple):
        items = list(enumerate(data))
    else:
        return []
    return [here for key, value in items[:200] for here in ((*above, key), *paths(value, (*above, key)))]


def changed(data: Any, path: tuple[Step, ...], change: Callable[[Any, Step], Any]) -> Any:
    """Plain data with `change(parent, step)` in place of the parent of a path."""
    if len(path) == 1:
        return change(data, path[0])
    first, rest = path[0], path[1:]
    if isinstance(data, dict):
        return {key: changed(value, rest, change) if key == first else value for key, value in data.items()}
    return [changed(value, rest, change) if index == first else value for index, value in enumerate(data)]


def _at_random(change: Callable[[Any, Step, Random], Any]) -> Callable[[Any, Random], Any]:
    def mutate(data: Any, chance: Random) -> Any:
        found = paths(data)
        if not found:
            return data
        return changed(data, chance.choice(found), lambda parent, step: change(parent, step, chance))

    return mutate


def _replaced(parent: Any, step: Step, value: Any) -> Any:
    if isinstance(parent, dict):
        return {key: value if key == step else old for key, old in parent.items()}
    return [value if index == step else old for index, old in enumerate(parent)]


def _delete(parent: Any, step: Step, chance: Random) -> Any:
    del chance
    if isinstance(parent, dict):
        return {key: value for key, value in parent.items() if key != step}
    return [value for index, value in enumerate(parent) if index != step]


def _rename(parent: Any, step: Step, chance: Random) -> Any:
    if not isinstance(parent, dict):
        return [*parent, *parent]
    word = str(step)
    cut = chance.randrange(len(word) + 1)
    new = chance.choice([word[:cut] + word[cut + 1 :], word + "_", chance.choice(WORDS), word.upper(), word * 40])
    return {(new if key == step else key): value for key, value in parent.items()}


def _retype(parent: Any, step: Step, chance: Random) -> Any:
    return _replaced(parent, step, chance.choice([*STRANGE, *WORDS]))


def _grow(parent: Any, step: Step, chance: Random) -> Any:
    return _replaced(parent, step, chance.choice(HUGE))


def _nest(parent: Any, step: Step, chance: Random) -> Any:
    value = parent[step]
    for _ in range(chance.choice([1, 2, 50, 200])):
        value = chance.choice([[value], {str(step): value}, {"kind": value}])
    return _replaced(parent, step, value)


def _move(data: Any, chance: Random) -> Any:
    found = paths(data)
    if len(found) < 2:
        return data
    source, target = chance.choice(found), chance.choice(found)
    value = data
    for step in source:
        value = value[step]
    return changed(data, target, lambda parent, step: _replaced(parent, step, value))


def _nudge(parent: Any, step: Step, chance: Random) -> Any:
    """Another number of the same sort: what cross-field checks are about."""
    value = parent[step]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _replaced(parent, step, f"{chance.randint(0, 10**6)} {chance.choice(['tokens', 'steps', '%', 'GiB'])}")
    near = [value + 1, value * 2, value * 1000, value // 2, -value, 1, 7]
    return _replaced(parent, step, chance.choice(near))


def _truncate(text: str, chance: Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def _twice(text: str, chance: Random) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines, *chance.sample(lines, min(len(lines), 3))])


def _indent(text: str, chance: Random) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    index = chance.randrange(len(lines))
    lines[index] = chance.choice([" ", "\t", "- ", "? "]) + lines[index]
    return "".join(lines)


def _letter(text: str, chance: Random) -> str:
    index = chance.randrange(len(text) + 1)
    new = chance.choice(
        [*"{}[]:,#&*!|>'\"%@`-?~ \n\t\r\0", "\x85", "\u2028", "\ud7ff", "\U0010ffff", "${env:HOME}", ""]
    )
    return text[:index] + new + text[index + 1 :]


def _prefix(text: str, chance: Random) -> str:
    return chance.choice(PREFIXES) + text


def _alias(text: str, chance: Random) -> str:
    return text.replace(": ", f": {chance.choice(['&a ', '*a ', '&a &b ', '!!int ', '! '])}", chance.randint(1, 4))


def _repeat(text: str, chance: Random) -> str:
    return text * chance.choice([2, 3, 50])


TREE: tuple[Callable[[Any, Random], Any], ...] = (
    _at_random(_delete),
    _at_random(_rename),
    _at_random(_retype),
    _at_random(_grow),
    _at_random(_nest),
    _at_random(_nudge),
    _at_random(_nudge),
    _move,
)
TEXT: tuple[Callable[[str, Random], str], ...] = (
    _truncate,
    _twice,
    _indent,
    _letter,
    _letter,
    _prefix,
    _alias,
    _repeat,
)


@dataclass
class Survey:
    """What checking many mutated specs showed."""

    specs: int = 0
    clean: int = 0
    codes: set[str] = field(default_factory=set)
    slowest_s: float = 0.0
    """CPU seconds of the slowest one, which is that of seed `slowest`."""
    slowest: int = -1
    failures: list[str] = field(default_factory=list)
    """What raised or contradicted itself, with its seed."""
    peak_bytes: int = 0
    """Largest resident size of the process."""


def survey(first: int, last: int) -> Survey:
    """Check the specs of these seeds, show what was found, and note whatever is neither a plan nor a diagnostic."""
    found = Survey()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        for seed in range(first, last):
            file.write_bytes(mutated(seed).encode("utf-8", "surrogatepass"))
            start = process_time()
            problem = _problem(file, found)
            spent = process_time() - start
            found.specs += 1
            found.failures += [f"seed {seed}: {problem}"] if problem else []
            if spent > found.slowest_s:
                found.slowest_s, found.slowest = spent, seed
    found.peak_bytes = _peak_bytes()
    return found


def _peak_bytes() -> int:
    """Largest resident size; on Linux of this program alone, since `getrusage` also counts what started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return getrusage(RUSAGE_SELF).ru_maxrss


def _problem(file: Path, found: Survey) -> str | None:
    try:
        outcome = check(file)
        for form in FORMATS:
            render(outcome.diagnostics, outcome.texts, form)
    except Exception as error:  # noqa: BLE001  # any exception is the finding
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {str(error)[:200]}"
    found.codes |= {diagnostic.code for diagnostic in outcome.diagnostics}
    found.clean += not outcome.failed
    if outcome.failed == bool(outcome.plans):
        return "an error and a plan, or neither"
    return next((f"an empty headline: {d}" for d in outcome.diagnostics if not d.headline or not d.primary), None)


if __name__ == "__main__":
    result = survey(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps({**asdict(result), "codes": sorted(result.codes)}))

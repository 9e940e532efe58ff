"""How long a sweep of a thousand variants takes, beside the floor of writing the same bytes to as many files.

python -m benchmarks.sweep
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.start_up import ROOT

VARIANTS = 1000
RUNS = 3


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spec(folder: Path) -> Path:
    """The tiny spec with a grid of learning rates."""
    rates = ", ".join(f"{1e-5 * (index + 1):.2e}" for index in range(VARIANTS))
    path = folder / "spec.yaml"
    path.write_text(
        f"extends: {ROOT / 'specs/presets/tiny.yaml'}\n"
        f"sweep:\n  grid:\n    stages.pretrain.optimizer.learning_rate: [{rates}]\n",
        encoding="utf-8",
    )
    return path


def specc(*arguments: str) -> None:
    """Run one command as a user does, Python start included."""
    subprocess.run([sys.executable, "-m", "specc", *arguments], check=True, capture_output=True)


def copy(texts: dict[Path, str], to: Path) -> None:
    """Write the same bytes under the same paths elsewhere."""
    for path, text in texts.items():
        target = to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def once() -> dict[str, float]:
    """Seconds by what was done, the floor first."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path, out, floor = str(spec(folder)), folder / "out", folder / "floor"
        check = seconds(lambda: specc("check", path))
        first = seconds(lambda: specc("compile", path, "-o", str(out)))
        again = seconds(lambda: specc("compile", path, "-o", str(out)))
        texts = {file.relative_to(out): file.read_text(encoding="utf-8") for file in out.rglob("*") if file.is_file()}
        return {
            f"write {len(texts):,} files": seconds(lambda: copy(texts, floor)),
            "specc check": check,
            "specc compile": first,
            "specc compile, nothing changed": again,
        }


def main() -> None:
    """Print a table of medians."""
    runs = [once() for _ in range(RUNS)]
    times = {name: median(run[name] for run in runs) for name in runs[0]}
    floor = next(iter(times.values()))
    print(f"{VARIANTS:,} variants of specs/presets/tiny.yaml")
    for name, spent in times.items():
        print(f"{name:40} {spent:6.2f} s   {spent / floor:5.2f} x floor   {spent / VARIANTS * 1000:5.2f} ms a variant")


if __name__ == "__main__":
    main()

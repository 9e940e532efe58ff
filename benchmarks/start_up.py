"""How long `specc check` and `specc compile` take, Python start included, beside the floor of what they import.

python -m benchmarks.start_up
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from specc import driver
from specc.planning import plan_experiment

ROOT = Path(__file__).resolve().parents[1]
SPEC = str(ROOT / "specs/70b_alibi.yaml")
RUNS = 11


def wall(arguments: list[str]) -> float:
    """Median wall time of a command in seconds."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(arguments, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return median(times)


def search() -> float:
    """Median time in seconds to plan the 70B spec, layouts searched, once everything is loaded."""
    plan = driver.check(Path(SPEC)).plan
    assert plan is not None
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        plan_experiment(plan.experiment, plan.cluster)
        times.append(time.perf_counter() - started)
    return median(times)


def main() -> None:
    """Print a table; the floor is an interpreter that imports pydantic and PyYAML and does nothing."""
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "python -c 'import pydantic, yaml'": [sys.executable, "-c", "import pydantic, yaml"],
            "specc check specs/70b_alibi.yaml": [sys.executable, "-m", "specc", "check", SPEC],
            "specc compile specs/70b_alibi.yaml": [sys.executable, "-m", "specc", "compile", SPEC, "-o", folder],
        }
        times = {name: wall(arguments) for name, arguments in commands.items()}
    floor = next(iter(times.values()))
    times["of that, the search over layouts"] = search()
    for name, seconds in times.items():
        print(f"{name:40} {seconds:6.3f} s   {seconds / floor:5.2f} x floor")


if __name__ == "__main__":
    main()

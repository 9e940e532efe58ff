"""`--dump-passes DIR`: the IR after each step of the compiler, as text that `diff` compares."""

from __future__ import annotations

from pathlib import Path

import click

from specc import ir
from specc.cli.show import PlainError
from specc.driver import Watch, unwatched

DUMP = click.option(
    "--dump-passes",
    "dump",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the IR to DIR after lowering, each pass and planning.",
)


def writer(folder: Path | None) -> Watch:
    """Writes `00_lower.txt`, `01_order_stages.txt`, ..., `plan.txt` below a folder; nothing where there is none."""
    if folder is None:
        return unwatched
    names: list[str] = []
    experiments: set[str] = set()

    def write(name: str, value: ir.Experiment | ir.Plan) -> None:
        from specc.ir.text import to_text

        experiments.add(value.experiment.name if isinstance(value, ir.Plan) else value.name)
        if len(experiments) > 1:
            raise PlainError("--dump-passes shows one experiment: choose a variant of the sweep with --variant")
        file = folder / (f"{name}.txt" if isinstance(value, ir.Plan) else f"{len(names):02}_{name}.txt")
        names.append(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(to_text(value), encoding="utf-8")
        except OSError as error:
            raise PlainError(f"{file} cannot be written: {error.strerror or error}") from None

    return write

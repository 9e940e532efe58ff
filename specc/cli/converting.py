"""`import` and `export`: checkpoints of transformers in and out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli import show
from specc.cli.compiling import fail
from specc.cli.running import RUNS

if TYPE_CHECKING:
    from specc.driver import Outcome
    from specc.importing import Checkpoint, Weights

_NODES = (1, 2, 4, 8, 16, 32, 64, 128)


@click.command("import")
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="HF_DIR")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--name", help="Name of the experiment; default that of OUT.")
@click.option("--model-type", metavar="TYPE", help="The family, where config.json does not say it.")
@click.option("--no-weights", is_flag=True, help="Only the architecture and the tokenizer.")
@click.option("--force", is_flag=True, help="Replace what an import wrote to OUT; other files stay.")
def import_(
    checkpoint: Path, out: Path, name: str | None, model_type: str | None, no_weights: bool, force: bool
) -> None:
    """Read the checkpoint in HF_DIR, as transformers writes it, into OUT: a spec that checks, weights, tokenizer."""
    from specc.importing import compose, read_checkpoint
    from specc.source import SpecErrors

    _recover(out)
    if out.exists() and not force:
        fail(f"{out} is there already; write elsewhere with -o, or over it with --force")
    try:
        found = read_checkpoint(checkpoint, model_type)
    except SpecErrors as errors:
        show.refused(errors.diagnostics, errors.texts)
    called = name or _name(out)
    with_weights = found.has_weights and not no_weights
    outcome, cluster = _checked(found, called, out, with_weights=with_weights)
    temporary = out.with_name(f".{out.name}.importing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        weights = _convert(found, outcome, temporary / "base") if with_weights else None
        _write(temporary, found, compose(found, called, weights, cluster))
        _put(temporary, out)
    except OSError as error:
        fail(f"{error.filename or out} cannot be written: {error.strerror or error}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _tell(out, found, outcome, weights)


@click.command()
@click.argument("model", metavar="RUN_OR_DIR")
@click.option("--format", "form", type=click.Choice(["huggingface"]), required=True, help="Format of the files.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--module",
    type=click.Choice(["auto", "native", "generated"]),
    default="auto",
    show_default=True,
    help="A class of transformers, or modeling code beside the weights where none computes the model.",
)
@click.option("--family", metavar="TYPE", help="The `model_type` to write; default the one that was imported.")
@RUNS
def export(model: str, form: str, out: Path, module: str, family: str | None, runs: Path) -> None:
    """Write the last checkpoint of a run, or what was imported, as transformers reads it."""
    from specc.exporting import NotExportableError, find
    from specc.native import NoClassError

    del form  # one today
    if out.exists():
        fail(f"{out} is there already; write elsewhere with -o, or remove it first")
    try:
        found = find(model, runs)
        description = found.described(module, family)
    except (NotExportableError, NoClassError) as reason:
        fail(str(reason))
    imported = found.imported
    folder = found.tokenizer_folder
    result = _start(
        "export",
        {
            "run": None if found.run is None else str(found.run.resolve()),
            "weights": None if imported is None else str((imported / "weights.safetensors").resolve()),
            "origin": None if imported is None else str((imported / "huggingface").resolve()),
            "config": dict(description.config),
            "moves": list(description.moves),
            "tokenizer": dict(found.tokenizer),
            "tokenizer_folder": None if folder is None else str(folder),
            "context_length": found.plan.experiment.model.context_length,
            "files": dict(description.files),
            "out": str(out.resolve()),
        },
    )
    architecture = (description.config.get("architectures") or ["?"])[0]
    click.echo(
        f"{out} written: {architecture}, {_counted(result['tensors'], 'tensor')} in {_counted(result['files'], 'file')}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _name(out: Path) -> str:
    """A name for an experiment, from that of its folder."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", out.resolve().name).lstrip("_.-")[:80] or "imported"


def _checked(
    found: Checkpoint, name: str, out: Path, *, with_weights: bool
) -> tuple[Outcome, Mapping[str, Any] | None]:
    """What the compiler says of the spec to come, and the machines it needs: the first on which it can be trained.

    What is imported runs anywhere; what would be trained from nothing may not fit on one CPU.
    """
    from specc.importing import Weights, compose

    weights = Weights("0" * 64, 1, 1, ("float32",)) if with_weights else None
    eights = [{"device": "h100_sxm", "nodes": nodes, "devices_per_node": 8} for nodes in _NODES]
    outcomes = []
    for cluster in (None, *eights):
        outcomes.append(_check(compose(found, name, weights, cluster), out))
        if not outcomes[-1].failed:
            return outcomes[-1], cluster
    show.diagnostics(outcomes[0], "full")
    fail("the spec above is what this config says, and it does not compile; nothing was written")
    raise AssertionError("fail() ends the command")


def _check(text: str, out: Path) -> Outcome:
    from specc import driver
    from specc.source import SpecErrors, read_text

    try:
        return driver.check_source(read_text(text, (out / "spec.yaml").as_posix(), out.parent))
    except SpecErrors as errors:
        return driver.Outcome((), errors.diagnostics, errors.texts)


def _convert(found: Checkpoint, outcome: Outcome, out: Path) -> Weights:
    """Write the weights in our names, in a process that has PyTorch."""
    from specc.huggingface import as_data
    from specc.importing import Weights

    assert outcome.plan is not None, "a spec that checks has a plan"
    model = outcome.plan.experiment.model
    result = _start(
        "import",
        {
            "source": str(found.folder.resolve()),
            "out": str(out.resolve()),
            "moves": as_data(found.reading.moves),
            "ignored": list(found.reading.ignored),
            "unread": dict(found.reading.unread),
            "weights": {weight.name: list(weight.sizes) for weight in model.weights()},
        },
    )
    return Weights(
        result["sha256"], result["tensors"], result["bytes"], tuple(result["types"]), tuple(result["unread"])
    )


def _start(what: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """What `runners.huggingface` made of a job; its failure ends the command with its exit code."""
    if find_spec("torch") is None:
        fail(f"{what}ing weights needs PyTorch: pip install 'specc[train]'")
    with tempfile.TemporaryDirectory(prefix="specc-") as folder:
        file, result = Path(folder) / "job.json", Path(folder) / "result.json"
        file.write_text(json.dumps({**job, "result": str(result)}), encoding="utf-8")
        code = subprocess.run([sys.executable, "-m", "runners.huggingface", what, str(file)], check=False).returncode
        if code:
            sys.exit(code if code > 0 else 128 - code)
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def _write(folder: Path, found: Checkpoint, text: str) -> None:
    """The spec with the schema of its first line, and copies of what goes along."""
    from specc.reference.json_schema import as_text, schema
    from specc.reference.sections import language
    from specc.starting import schema_file

    spec = folder / "spec.yaml"
    schema_file(spec).parent.mkdir(parents=True, exist_ok=True)
    schema_file(spec).write_text(as_text(schema(language())), encoding="utf-8")
    copies = ((found.tokenizer_files, folder / "tokenizer"), (found.kept_files, folder / "base" / "huggingface"))
    for files, target in copies:
        if files:
            target.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, target / file.name)
    spec.write_text(text, encoding="utf-8")


def _put(temporary: Path, out: Path) -> None:
    """Bring a finished folder to its place. Files of the user that lay there stay, and nothing is lost on the way."""
    before = _before(out)
    if out.exists():
        out.rename(before)
    temporary.rename(out)
    for mine in before.iterdir() if before.is_dir() else ():
        if not (out / mine.name).exists():
            mine.rename(out / mine.name)
    shutil.rmtree(before, ignore_errors=True)


def _recover(out: Path) -> None:
    """Put back what an import moved away that was killed before it had anything in its place."""
    if _before(out).exists() and not out.exists():
        _before(out).rename(out)


def _before(out: Path) -> Path:
    return out.with_name(f".{out.name}.before")


def _tell(out: Path, found: Checkpoint, outcome: Outcome, weights: Weights | None) -> None:
    said = "no weights" if weights is None else weights.text
    click.echo(f"{out} written: {found.reading.architecture}, {show.facts(outcome.plans)}; {said}")
    if found.encoding.sha256 is None:
        click.echo(f"note: {found.folder} has no tokenizer.json; put one into {out / 'tokenizer'}", err=True)
    for told in () if weights is None else weights.unread:
        click.echo(f"note: {told}", err=True)
    click.echo(f"next: specc check {out / 'spec.yaml'}")


COMMANDS: tuple[click.Command, ...] = (import_, export)

"""Checkpoints of transformers to ours and back, bit for bit, one tensor at a time.

python -m runners.huggingface import JOB.json      what `specc import` starts
python -m runners.huggingface export JOB.json      what `specc export` starts
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from runners.byte_tokenizer_files import files as byte_tokenizer_files
from runners.checkpoint import WEIGHTS, required
from runners.errors import RunError
from runners.events import read_events
from runners.imported import ORIGIN
from runners.moves import Move, announced, check_shapes, gathered, matched, read_moves, sources, theirs_of, unread
from runners.tensor_files import INDEX, SINGLE, Entry, Stored, open_file, open_folder, read_json, shards, write

SHARD = 5 * 10**9
"""Bytes of a file at most: `max_shard_size` of transformers before it was 50 GB, which many tools still expect."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
)
"""What makes a tokenizer, by the names that transformers gives its files."""
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class Handover:
    """Everything that an export writes."""

    weights: Stored
    config: Mapping[str, Any]
    """In transformers' words, without the type of the weights and the ids of special tokens."""
    moves: tuple[Move, ...]
    tokenizer: Mapping[str, Any]
    """As the manifest declares it."""
    tokenizer_folder: Path | None
    """Where its files lie; None for one that has none."""
    origin: Path | None
    """What came with weights that were imported: settings that no training changes are taken from there."""
    context_length: int
    files: Mapping[str, str] = field(default_factory=dict)
    """Code that goes beside the weights, by name."""


def take_apart(source: Path, out: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Write the checkpoint in `source` as our weights into the folder `out`; what was written.

    RunError when tensors are missing, left over or of a wrong shape, before anything is written.
    """
    stored = open_folder(source)
    moves = matched(read_moves(job["moves"]), stored, job["ignored"])
    parts = sources(moves)
    entries = announced(parts, stored)
    wanted = {name: tuple(shape) for name, shape in job["weights"].items()}
    # What is no weight and yet moved is a buffer of ours: the generated model is asked for it when the stage runs.
    check_shapes({name: entry.shape for name, entry in entries.items() if name in wanted}, wanted, "the model")
    ordered = {name: entries[name] for name in (*wanted, *(name for name in entries if name not in wanted))}
    out.mkdir(parents=True, exist_ok=True)
    digest = write(out / WEIGHTS, ordered, lambda name: gathered(parts[name], stored.read))
    kinds = sorted({str(entry.dtype).removeprefix("torch.") for entry in ordered.values()})
    size = sum(entry.bytes for entry in ordered.values())
    told = unread(job["unread"], moves, stored)
    return {"sha256": digest, "tensors": len(moves), "bytes": size, "types": kinds, "unread": told}


def hand_over(handover: Handover, out: Path, largest: int = SHARD) -> dict[str, Any]:
    """Write a model as transformers reads it into `out`, which must not be there; what was written.

    It is written beside its place and renamed, so that a kill leaves no half of it.
    """
    if out.exists():
        raise RunError(f"{out} is there already; write elsewhere, or remove it first")
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        entries = _theirs(handover.moves, handover.weights)
        _write_weights(temporary, handover.moves, handover.weights, entries, largest)
        _write_settings(temporary, handover, entries)
        _write_tokenizer(temporary, handover)
        for name, text in handover.files.items():
            (temporary / name).write_text(text, encoding="utf-8")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    files = len(tuple(out.glob("*.safetensors")))
    return {"tensors": len(entries), "bytes": sum(entry.bytes for entry in entries.values()), "files": files}


def origin_of(run: Path) -> Path | None:
    """What came with the weights that a run goes back to, if they were imported: the runs before it are followed."""
    for _ in range(1000):
        if (run / ORIGIN / "config.json").is_file():
            return run / ORIGIN
        began = [event["upstream"] for event in read_events(run) if event["type"] == "run_started"]
        before = [run.parent.parent / name for name in (began[-1].values() if began else ())]
        before = [path for path in before if path.is_dir()]
        if len(before) != 1:
            return None
        (run,) = before
    return None


def _theirs(moves: tuple[Move, ...], stored: Stored) -> dict[str, Entry]:
    """Names, shapes and types of what is written; RunError where ours do not make it up."""
    entries = {}
    for move in moves:
        lacking = [name for name in move.ours if name not in stored.entries]
        if lacking:
            raise RunError(f"the weights lack `{lacking[0]}`, which `{move.theirs}` is made of: another model's")
        parts = [stored.entries[name] for name in move.ours]
        try:
            blank = theirs_of(move, [part.blank() for part in parts])
        except (RuntimeError, IndexError) as error:
            raise RunError(f"`{move.theirs}` cannot be made of {', '.join(move.ours)}: {error}") from None
        entries[move.theirs] = Entry(parts[0].file, tuple(blank.shape), blank.dtype)
    used = {name for move in moves for name in move.ours}
    left = sorted(name for name in stored.entries if name not in used)
    if left:
        raise RunError(f"nothing of transformers holds `{left[0]}`; {len(left):,} tensors would be dropped")
    return entries


def _write_weights(
    out: Path, moves: tuple[Move, ...], stored: Stored, entries: Mapping[str, Entry], largest: int
) -> None:
    by_name = {move.theirs: move for move in moves}

    def tensor(name: str) -> torch.Tensor:
        return theirs_of(by_name[name], [stored.read(ours) for ours in by_name[name].ours])

    files = tuple(shards(entries, largest))
    names = (
        [SINGLE] if len(files) == 1 else [f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in _from_one(files)]
    )
    for name, part in zip(names, files, strict=True):
        write(out / name, part, tensor)
    if len(files) > 1:
        where = {name: file for file, part in zip(names, files, strict=True) for name in part}
        total = sum(entry.bytes for entry in entries.values())
        _write_json(out / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))})


def _write_settings(out: Path, handover: Handover, entries: Mapping[str, Entry]) -> None:
    """`config.json` and `generation_config.json`: ids and generation as they came with the weights, else of ours."""
    floating = Counter(entry.dtype for entry in entries.values() if entry.dtype.is_floating_point)
    kind = str(floating.most_common(1)[0][0]).removeprefix("torch.") if floating else "float32"
    end = handover.tokenizer["end_of_document"]
    ids: dict[str, Any] = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": None}
    if handover.origin is not None:
        came = read_json(handover.origin / "config.json")
        ids = {key: came[key] for key in SPECIAL_IDS if key in came}
    _write_json(out / "config.json", {**handover.config, **ids, "dtype": kind})
    generation = None if handover.origin is None else handover.origin / "generation_config.json"
    if generation is not None and generation.is_file():
        shutil.copyfile(generation, out / generation.name)
    elif handover.origin is None:
        _write_json(out / "generation_config.json", {key: value for key, value in ids.items() if value is not None})


def _write_tokenizer(out: Path, handover: Handover) -> None:
    if handover.tokenizer["kind"] == "byte":
        for name, content in byte_tokenizer_files(
            handover.tokenizer["end_of_document"], handover.context_length
        ).items():
            _write_json(out / name, content)
        return
    folder = handover.tokenizer_folder
    found = [] if folder is None else [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not found:
        raise RunError(
            f"tokenizer: {folder} holds no file of a tokenizer; `tokenizer.path` is seen from the spec's folder"
        )
    for file in found:
        shutil.copyfile(file, out / file.name)


def _from_one(files: tuple[Any, ...]) -> range:
    return range(1, len(files) + 1)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Do one job; what came of it goes to the job's `result`, what went wrong to stderr."""
    parser = argparse.ArgumentParser(description="Convert a checkpoint.")
    parser.add_argument("what", choices=("import", "export"))
    parser.add_argument("job", type=Path)
    options = parser.parse_args()
    with _told():
        job = read_json(options.job)
        result = _import(job) if options.what == "import" else _export(job)
        _write_json(Path(job["result"]), result)


def _import(job: Mapping[str, Any]) -> dict[str, Any]:
    return take_apart(Path(job["source"]), Path(job["out"]), job)


def _export(job: Mapping[str, Any]) -> dict[str, Any]:
    run, folder = job["run"], job["tokenizer_folder"]
    weights = open_file(Path(job["weights"])) if run is None else required(Path(run)).stored()
    origin = job["origin"] if run is None else origin_of(Path(run))
    handover = Handover(
        weights,
        job["config"],
        read_moves(job["moves"]),
        job["tokenizer"],
        None if folder is None else Path(folder),
        Path(origin) if origin is not None and (Path(origin) / "config.json").is_file() else None,
        job["context_length"],
        job["files"],
    )
    return hand_over(handover, Path(job["out"]), job.get("shard_bytes") or SHARD)


@contextmanager
def _told() -> Iterator[None]:
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        yield
    except RunError as error:
        errors.print(f"error: {error}")
        raise SystemExit(1) from None
    except OSError as error:
        errors.print(f"error: {error.filename}: {error.strerror or error}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was written")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()

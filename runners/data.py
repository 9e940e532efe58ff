"""Prepares a data set: documents to token files, once, in a folder that later runs reuse.

    data/stdlib-5be1f0c22d10/
      train-00000.bin       token ids, uint16 little endian (uint32 for a tokenizer of more than 65,536 ids); sources
                            one after the other, documents sorted by name; more files where one is full
      train-documents.bin   where each document begins, int64 little endian, in tokens from the first
      validation-*.bin      the held-out documents, likewise
      validation.jsonl      the held-out documents as text, for the evaluation harness
      index.json            counts, ranges and hashes
      packed-*, order-*     what stages made of it that pack or sort its documents, made when first asked for

The split is decided by a hash of each document's content: every machine holds out the same documents, and a text that
stands in two sources or two data sets is on the same side in both. (Where data sets hold out different fractions, what
the smaller fraction holds out is part of what the larger one does.)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from runners import documents
from runners.documents import Document, SourceFile
from runners.errors import RunError
from runners.tokenizer import NARROW, Tokenizer, content_hash, token_type, tokenizer
from runners.tokens import SHARD_BYTES, STARTS, Tokens, TokenWriter, document_starts, open_tokens, shards
from specc.manifest import Manifest

FORMAT = 3
"""Raised whenever the same declaration would give other files."""


@dataclass(frozen=True)
class Range:
    """One source within a token file."""

    start: int
    tokens: int
    documents: int
    bytes: int


@dataclass(frozen=True)
class Split:
    """The token files of what is trained on, or of what is held out."""

    folder: Path
    name: str
    """train or validation"""
    ranges: Mapping[str, Range]
    """By source, in the order of the declaration."""
    token_type: np.dtype[Any] = NARROW
    per_shard: int = SHARD_BYTES // NARROW.itemsize
    """Tokens of a full shard."""

    @property
    def tokens_per_byte(self) -> float | None:
        """Of its documents, each with the token that stands before it; None of an empty one."""
        size = sum(part.bytes for part in self.ranges.values())
        return self.tokens / size if size else None

    @property
    def tokens(self) -> int:
        """Tokens of all sources."""
        return sum(part.tokens for part in self.ranges.values())

    @property
    def shards(self) -> tuple[Path, ...]:
        """The token files."""
        return shards(self.folder, self.name, self.tokens, self.per_shard)

    def open(self) -> Tokens:
        """All tokens, memory-mapped."""
        return open_tokens(self.shards, self.token_type, self.per_shard)

    def document_starts(self, source: str) -> np.ndarray:
        """Where the documents of a source begin, in tokens from the first of the split, int64 [documents]."""
        before = [part.documents for part in self.ranges.values()][: list(self.ranges).index(source)]
        count = self.ranges[source].documents
        if not count:
            return np.empty(0, np.int64)
        path = document_starts(self.folder, self.name)
        return np.memmap(path, STARTS, "r", sum(before) * STARTS.itemsize, (count,)).astype(np.int64)


@dataclass(frozen=True)
class DataSet:
    """A prepared data set."""

    name: str
    folder: Path
    train: Split
    validation: Split
    weights: Mapping[str, float | None]
    """Declared weight of each source."""
    skipped: Mapping[str, int]
    """Documents left out, by reason."""
    end_of_document: int
    """The id that stands before each document."""

    @property
    def held_out(self) -> Path:
        """The held-out documents as JSON lines with `text` and `name`."""
        return self.folder / "validation.jsonl"


def prepare(experiment: Path, manifest: Manifest, name: str) -> DataSet:
    """The data set `name` of the manifest, made if it is not there yet. Experiments of one `runs/` folder share it."""
    folder, files = _locate(experiment, manifest, name)
    declaration = manifest.data[name]
    if not (folder / "index.json").is_file():
        _build(folder, declaration, manifest.tokenizer, files)
    return _load(name, folder, declaration)


def address(experiment: Path, manifest: Manifest, name: str) -> str:
    """Name of a data set with a hash of everything that decides its content.

    That is the declaration without what only says where files lie (paths) and how they are sampled (weights), the
    tokenizer, and the name, size and content hash of each file.
    """
    return _locate(experiment, manifest, name)[0].name


def check_unchanged(run: str, read_before: Mapping[str, str], read_now: Mapping[str, str]) -> None:
    """RunError when a run would go on, or count as complete, with other texts than it began with."""
    for name, now in read_now.items():
        before = read_before.get(name, now)
        if before != now:
            raise RunError(f"{run} read {before}, and the files of `{name}` now make {now}: run it again with --fresh")


def _locate(experiment: Path, manifest: Manifest, name: str) -> tuple[Path, list[SourceFile]]:
    if name not in manifest.data:
        raise RunError(f"the plan declares no data set `{name}`")
    declaration = manifest.data[name]
    _refuse_unsupported(name, declaration)
    home = experiment.parent / "data"
    home.mkdir(parents=True, exist_ok=True)
    files = [file for source, what in declaration["sources"].items() for file in documents.find(source, what)]
    return home / f"{name}-{_key(declaration, manifest.tokenizer, files, home)}", files


def is_held_out(content: bytes, fraction: float) -> bool:
    """Whether a document belongs to the held-out split: a function of its bytes alone, whatever it is called."""
    drawn = int.from_bytes(sha256(content).digest()[:8], "big") / 2**64
    return drawn < fraction


def _refuse_unsupported(name: str, declaration: Mapping[str, Any]) -> None:
    declared = declaration.get("filters") or []
    filters = [str(rule.get("kind")) if isinstance(rule, dict) else str(rule) for rule in declared]
    if filters:
        raise RunError(f"data set `{name}`: this version does not run filters, and it declares {', '.join(filters)}")
    for source, what in declaration["sources"].items():
        kind = what.get("kind", "files")
        if kind != "files":
            raise RunError(
                f"data set `{name}`: this version reads only files, and source `{source}` is of kind `{kind}`"
            )


def _key(declaration: Mapping[str, Any], encoding: Mapping[str, Any], files: Sequence[SourceFile], home: Path) -> str:
    sources = {
        source: {key: value for key, value in what.items() if key not in ("path", "exclude", "weight")}
        for source, what in declaration["sources"].items()
    }
    hashes = documents.content_hashes(files, home / "hashes.json")
    content = [(file.source, file.name, file.path.stat().st_size, hashes[file.path]) for file in files]
    encoded = {key: value for key, value in encoding.items() if key not in ("path", "sha256")}
    decides = [FORMAT, sources, declaration.get("holdout"), encoded, content]
    decides += [found for found in (content_hash(encoding),) if found is not None]
    return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def _build(
    folder: Path, declaration: Mapping[str, Any], encoding: Mapping[str, Any], files: Sequence[SourceFile]
) -> None:
    """Write everything beside the final place, then rename, so that a kill never leaves half a data set."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        fraction = float((declaration.get("holdout") or {}).get("fraction") or 0.0)
        writer = _Writer(temporary, tokenizer(encoding), fraction)
        index = writer.write(declaration["sources"], files)
        if not any(part["tokens"] for part in index["train"].values()):
            raise RunError(f"data set {folder.name}: no document is left to train on")
        (temporary / "index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        if not (folder / "index.json").is_file():  # another run of the experiment may have made it meanwhile
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass
class _Writer:
    """Writes the files of one data set; the only place here that counts as it goes."""

    folder: Path
    text: Tokenizer
    fraction: float
    skipped: dict[str, int] = field(default_factory=lambda: {"empty": 0})
    not_utf8: int = 0

    @property
    def token_type(self) -> np.dtype[Any]:
        return token_type(self.text.vocab_size)

    def write(self, sources: Mapping[str, Any], files: Sequence[SourceFile]) -> dict[str, Any]:
        """Write every document, and return the index."""
        counts: dict[str, dict[str, dict[str, int]]] = {"train": {}, "validation": {}}
        per_shard = SHARD_BYTES // self.token_type.itemsize
        outputs = {name: TokenWriter(self.folder, name, self.token_type, per_shard) for name in counts}
        with (
            outputs["train"],
            outputs["validation"],
            (self.folder / "validation.jsonl").open("w", encoding="utf-8", newline="\n") as text,
        ):
            for source in sources:
                counts_here = self._write_source([file for file in files if file.source == source], outputs, text)
                for split in outputs:
                    counts[split][source] = counts_here[split]
        written = (*outputs["train"].names, *outputs["validation"].names, "validation.jsonl")
        hashes = {name: documents.file_hash(self.folder / name) for name in written}
        return {
            "format": FORMAT,
            "token_type": self.token_type.str,
            "tokens_per_shard": per_shard,
            "end_of_document": self.text.end_of_document,
            **counts,
            "skipped": self.skipped,
            # Trained on as the bytes they are where the tokenizer is one of bytes, and left out of validation.jsonl.
            "not_utf8": self.not_utf8,
            "sha256": hashes,
        }

    def _write_source(
        self, files: Sequence[SourceFile], outputs: Mapping[str, TokenWriter], text: TextIO
    ) -> dict[str, dict[str, int]]:
        """Append the documents of one source; its range in each split."""
        counts = {split: asdict(Range(output.tokens, 0, 0, 0)) for split, output in outputs.items()}
        for document in self._documents(files):
            split = "validation" if is_held_out(document.content, self.fraction) else "train"
            self._append(document, outputs[split], counts[split])
            if split == "validation":
                _append_text(document, text)
        return counts

    def _documents(self, files: Sequence[SourceFile]) -> Iterator[Document]:
        for file in files:
            for document in documents.read(file):
                if document.content:
                    yield document
                else:
                    self.skipped["empty"] += 1

    def _append(self, document: Document, output: TokenWriter, counts: dict[str, int]) -> None:
        ids = self.text.encode_bytes(document.content)
        self.not_utf8 += document.text() is None
        if ids is None:
            self.skipped["not_utf8"] = self.skipped.get("not_utf8", 0) + 1
            return
        tokens = np.empty(len(ids) + 1, self.token_type)
        tokens[0] = self.text.end_of_document
        tokens[1:] = ids
        output.append(tokens)
        counts["tokens"] += len(tokens)
        counts["documents"] += 1
        counts["bytes"] += len(document.content)


def _append_text(document: Document, output: TextIO) -> None:
    text = document.text()
    if text is not None:
        name = f"{document.source}/{document.name}"
        output.write(json.dumps({"text": text, "name": name}, ensure_ascii=False) + "\n")


def _load(name: str, folder: Path, declaration: Mapping[str, Any]) -> DataSet:
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    kind, per_shard = np.dtype(index["token_type"]), index["tokens_per_shard"]
    splits = {
        split: Split(folder, split, {source: Range(**part) for source, part in index[split].items()}, kind, per_shard)
        for split in ("train", "validation")
    }
    weights = {source: what.get("weight") for source, what in declaration["sources"].items()}
    for split in splits.values():
        _check_files(split)
    return DataSet(
        name, folder, splits["train"], splits["validation"], weights, index["skipped"], index["end_of_document"]
    )


def _check_files(split: Split) -> None:
    """RunError when a file is missing or of another size than was written."""
    expected = dict.fromkeys(split.shards, split.per_shard * split.token_type.itemsize)
    if split.shards:
        expected[split.shards[-1]] -= (-split.tokens % split.per_shard) * split.token_type.itemsize
    documents_in_all = sum(part.documents for part in split.ranges.values())
    expected[document_starts(split.folder, split.name)] = documents_in_all * STARTS.itemsize
    for path, size in expected.items():
        if not path.is_file() or path.stat().st_size != size:
            raise RunError(f"{path} is damaged; delete {split.folder}, and it is made again")

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from runners import documents
from runners.data import DataSet, is_held_out, prepare
from runners.errors import RunError

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment


def declared(
    experiment: Experiment, folder: Path, sources: dict[str, Any], fraction: float = 0.1, **more: Any
) -> DataSet:
    data = {"set": {"sources": sources, "holdout": {"fraction": fraction}, **more}}
    return prepare(folder, dataclasses.replace(experiment.manifest, data=data), "set")


def split_documents(tokens: np.ndarray) -> list[bytes]:
    starts = [*np.flatnonzero(tokens == 256), len(tokens)]
    return [tokens[one + 1 : other].astype(np.uint8).tobytes() for one, other in pairwise(starts)]


def test_every_document_is_in_one_split_byte_for_byte(experiment: Experiment, corpus: Path) -> None:
    data = prepare(experiment.folder, experiment.manifest, "corpus")
    files = {path.read_bytes() for path in corpus.rglob("*.py")}
    train, held_out = (split_documents(split.open()[:]) for split in (data.train, data.validation))
    assert {*train, *held_out} == files
    assert len(train) + len(held_out) == len(files)
    texts = [json.loads(line) for line in data.held_out.read_text().splitlines()]
    assert [line["text"].encode() for line in texts] == held_out
    assert 1 <= len(held_out) <= 15
    assert texts[0]["name"].startswith("main/part")
    assert data.train.ranges["main"].documents == len(train)


def test_the_same_corpus_elsewhere_gives_the_same_split_and_the_same_files(
    experiment: Experiment, corpus: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "another" / "place"
    shutil.copytree(corpus, elsewhere)
    one = declared(experiment, tmp_path / "a", {"main": {"path": f"{corpus}/**/*.py"}})
    other = declared(experiment, tmp_path / "b", {"main": {"path": f"{elsewhere}/**/*.py"}})
    for name in ("train-00000.bin", "train-documents.bin", "validation-00000.bin", "validation.jsonl"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()


def test_the_held_out_documents_never_change() -> None:
    texts = [f"text {index}" for index in range(40)]
    assert [text for text in texts if is_held_out(text.encode(), 0.1)] == PINNED
    share = sum(is_held_out(f"{index}".encode(), 0.01) for index in range(20_000)) / 20_000
    assert share == pytest.approx(0.01, rel=0.2)


PINNED = ["text 12", "text 13", "text 19", "text 20", "text 26", "text 30"]


def test_a_text_is_on_one_side_in_every_source_and_data_set(
    experiment: Experiment, corpus: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(sorted(corpus.rglob("*.py"))):
        shutil.copy(path, renamed / f"{number}.txt")
    both = {"a": {"path": f"{corpus}/**/*.py"}, "b": {"path": f"{renamed}/*.txt"}}
    one = declared(experiment, tmp_path / "a", both)
    train, held_out = ({*split_documents(split.open()[:])} for split in (one.train, one.validation))
    assert held_out
    assert not train & held_out
    other = declared(experiment, tmp_path / "b", {"c": both["b"]})
    assert {*split_documents(other.validation.open()[:])} == held_out


def test_a_prepared_data_set_is_reused_and_a_changed_file_makes_another(experiment: Experiment, corpus: Path) -> None:
    first = prepare(experiment.folder, experiment.manifest, "corpus")
    stamp = (first.folder / "train-00000.bin").stat().st_mtime_ns
    assert (
        prepare(experiment.folder, experiment.manifest, "corpus").folder / "train-00000.bin"
    ).stat().st_mtime_ns == stamp
    changed = corpus / "part0" / "file0.py"
    before = changed.stat()
    changed.write_text("x" * before.st_size)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same modification time
    assert prepare(experiment.folder, experiment.manifest, "corpus").folder != first.folder


def test_cached_hashes_are_used_only_for_files_at_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one")
    files = documents.find("main", {"path": f"{tmp_path}/*.txt"})
    cache = tmp_path / "hashes.json"
    documents.content_hashes(files, cache)
    assert not cache.exists()
    later = time.time() + 10
    monkeypatch.setattr(documents.time, "time", lambda: later)
    right = documents.content_hashes(files, cache)
    monkeypatch.setattr(documents, "file_hash", lambda _: "must not be asked")
    assert documents.content_hashes(files, cache) == right


def test_excluded_empty_and_broken_files_are_counted(experiment: Experiment, tmp_path: Path) -> None:
    home = tmp_path / "mixed"
    (home / "site-packages").mkdir(parents=True)
    (home / "site-packages" / "x.py").write_text("no")
    (home / "empty.py").write_text("")
    (home / "latin.py").write_bytes(b"caf\xe9")
    (home / "good.py").write_text("ok\r\n")
    source = {"path": f"{home}/**/*.py", "exclude": ["site-packages"]}
    data = declared(experiment, tmp_path, {"main": source}, fraction=0.0)
    assert split_documents(data.train.open()[:]) == [b"ok\r\n", b"caf\xe9"]
    index = json.loads((data.folder / "index.json").read_text())
    assert (index["skipped"], index["not_utf8"]) == ({"empty": 1}, 1)
    held = declared(experiment, tmp_path, {"main": {**source, "exclude": ["**/site-packages/**"]}}, 0.0)
    assert split_documents(held.train.open()[:]) == [b"ok\r\n", b"caf\xe9"]


def test_rows_of_tables_are_documents(experiment: Experiment, tmp_path: Path) -> None:
    import duckdb

    rows = [{"body": f"text {index} ü", "n": index} for index in range(5)] + [{"body": None, "n": 6}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    duckdb.connect().execute(f"COPY (SELECT * FROM read_json_auto('{tmp_path}/a.jsonl')) TO '{tmp_path}/c.parquet'")
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-q", str(tmp_path / "a.jsonl"), "-o", str(tmp_path / "d.jsonl.zst")], check=True)
    for path in sorted([*tmp_path.glob("?.jsonl*"), tmp_path / "c.parquet"]):
        source = {"path": str(path), "text_field": "body"}
        data = declared(experiment, tmp_path / path.name.replace(".", "-"), {"rows": source}, fraction=0.0)
        assert split_documents(data.train.open()[:]) == [f"text {index} ü".encode() for index in range(5)]
        assert data.skipped == {"empty": 1}


def test_mistakes_are_plain_messages(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text('{"content": "x"}\n')
    (tmp_path / "a.zip").write_text("")
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    cases = {
        "no file matches": {"path": f"{tmp_path}/*.none"},
        "has no field `contents`; did you mean `content`": {"path": f"{tmp_path}/a.jsonl", "text_field": "contents"},
        "neither plain text nor": {"path": f"{tmp_path}/a.zip"},
        "NO_SUCH_FOLDER": {"path": "${env:NO_SUCH_FOLDER}/*"},
        "reads only files, and source `main` is of kind `huggingface`": {"kind": "huggingface", "dataset": "a/b"},
        "neither \\$\\{python:stdlib\\}": {"path": "${home}/*"},
    }
    for message, source in cases.items():
        with pytest.raises(RunError, match=message):
            declared(experiment, tmp_path / "out", {"main": source})
    with pytest.raises(RunError, match="does not run filters, and it declares minhash_dedup"):
        declared(experiment, tmp_path, {"main": {"path": "x"}}, filters=[{"kind": "minhash_dedup"}])
    other = dataclasses.replace(experiment.manifest, tokenizer={"kind": "bpe"})
    with pytest.raises(RunError, match="tokenizer kind `bpe`"):
        prepare(tmp_path, other, "corpus")
    assert not list((tmp_path / "out" / "data").glob(".*"))


def test_the_standard_library_can_be_named() -> None:
    files = documents.find("stdlib", {"path": "${python:stdlib}/json/*.py"})
    assert [file.name for file in files] == ["__init__.py", "decoder.py", "encoder.py", "scanner.py", "tool.py"]

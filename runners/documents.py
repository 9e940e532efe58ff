"""Finds the files that a data source names, and reads them as documents."""

from __future__ import annotations

import glob
import json
import os
import re
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from runners.errors import RunError

TABLES = {
    ".jsonl": "read_json_auto($file, format='newline_delimited', maximum_object_size=268435456)",
    ".ndjson": "read_json_auto($file, format='newline_delimited', maximum_object_size=268435456)",
    ".json": "read_json_auto($file, maximum_object_size=268435456)",
    ".parquet": "read_parquet($file)",
    ".csv": "read_csv_auto($file)",
}
COMPRESSIONS = (".gz", ".zst")
OTHER_CONTAINERS = (".xz", ".bz2", ".zip", ".tar", ".arrow", ".mds", ".bin")


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    source: str
    name: str
    """Path relative to the fixed part of the source's pattern: the same on every machine."""
    path: Path
    text_field: str


@dataclass(frozen=True)
class Document:
    """One document: what is trained on as one text."""

    source: str
    name: str
    """Name of its file, with `#row` where a file holds many."""
    content: bytes

    def text(self) -> str | None:
        """The content as UTF-8, or None where it is not."""
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            return None


def find(source: str, declaration: Mapping[str, Any]) -> tuple[SourceFile, ...]:
    """Files of a source sorted by name; RunError when there is none."""
    declared = declaration["path"]
    patterns = [declared] if isinstance(declared, str) else list(declared)
    exclude = declaration.get("exclude") or ()
    text_field = declaration.get("text_field") or "text"
    found: dict[Path, SourceFile] = {}
    for pattern in map(expand, patterns):
        for name, path in _matches(pattern):
            if not any(_excluded(rule, name, path) for rule in exclude):
                found.setdefault(path, SourceFile(source, name, path, text_field))
    if not found:
        raise RunError(f"source `{source}`: no file matches {', '.join(map(expand, patterns))}")
    return tuple(sorted(found.values(), key=lambda file: (file.name, str(file.path))))


def expand(pattern: str) -> str:
    """Replace `${python:stdlib}` and `${env:NAME}`, and a leading `~`."""
    return str(Path(re.sub(r"\$\{([^}]*)\}", lambda match: _placeholder(match[1]), pattern)).expanduser())


def read(file: SourceFile) -> Iterator[Document]:
    """Documents of a file, empty ones included."""
    suffix, compressed = _suffix(file.path)
    if suffix in TABLES:
        yield from _rows(file, TABLES[suffix])
        return
    if compressed or suffix in OTHER_CONTAINERS:
        readable = ", ".join((*TABLES, ".jsonl.gz", ".jsonl.zst"))
        raise RunError(f"source `{file.source}`: {file.path} is neither plain text nor one of {readable}")
    yield Document(file.source, file.name, file.path.read_bytes())


def content_hashes(files: Sequence[SourceFile], cache: Path) -> dict[Path, str]:
    """SHA-256 of every file, with the answers kept in `cache`.

    A cached hash is used while inode, size and change time are the same. Programs can set back the modification time,
    but not the change time; and a file that changed in the last two seconds before it was hashed is not cached, since
    a second write could carry the same time stamp (git calls such an entry racy, Documentation/technical/racy-git).
    """
    known = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    hashes, kept = {}, {}
    for path in (file.path for file in files):
        status = path.stat()
        stamp = f"{path}:{status.st_ino}:{status.st_size}:{status.st_ctime_ns}"
        hashes[path] = known.get(stamp) or file_hash(path)
        if status.st_ctime < time.time() - 2.0:
            kept[stamp] = hashes[path]
    if not kept.keys() <= known.keys():
        temporary = cache.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(known | kept), encoding="utf-8")
        temporary.replace(cache)
    return hashes


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    total = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            total.update(chunk)
    return total.hexdigest()


def _matches(pattern: str) -> Iterator[tuple[str, Path]]:
    """Name and absolute path of every file that a glob matches."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    root = Path(*fixed)
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - takes an absolute pattern, Path.glob does not
        path = Path(match)
        if path.is_file():
            yield path.relative_to(root).as_posix(), path.absolute()


def _excluded(rule: str, name: str, path: Path) -> bool:
    """A rule without a slash names a file or folder at any depth; one with a slash is matched against the path."""
    if "/" not in rule:
        return any(fnmatchcase(part, rule) for part in name.split("/"))
    return fnmatchcase(name, rule) or fnmatchcase(f"/{name}", rule) or fnmatchcase(path.as_posix(), expand(rule))


def _placeholder(name: str) -> str:
    kind, _, value = name.partition(":")
    if (kind, value) == ("python", "stdlib"):
        return sysconfig.get_paths()["stdlib"]
    if kind == "env":
        found = os.environ.get(value)
        if not found:
            raise RunError(f"the environment variable {value}, which a data path uses, is not set")
        return found
    raise RunError(f"`${{{name}}}` in a data path is neither ${{python:stdlib}} nor ${{env:NAME}}")


def _suffix(path: Path) -> tuple[str, bool]:
    """Suffix that decides how a file is read, and whether the file is compressed."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        return (suffixes[-2] if len(suffixes) > 1 else ""), True
    return (suffixes[-1] if suffixes else ""), False


def _rows(file: SourceFile, table: str) -> Iterator[Document]:
    """One document per row, in the order of the file."""
    import duckdb  # only sources with rows need it

    query = {"file": str(file.path)}
    with duckdb.connect(config={"threads": 1}) as connection:
        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM {table}", query).fetchall()
            _check_field(file, [str(row[0]) for row in described])
            column = '"' + file.text_field.replace('"', '""') + '"'
            connection.execute(f"SELECT CAST({column} AS VARCHAR) FROM {table}", query)
            yield from _fetched(file, connection)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"source `{file.source}`: {file.path} cannot be read: {reason}") from None


def _fetched(file: SourceFile, connection: Any) -> Iterator[Document]:
    """Documents of a query that selected one column of text."""
    row = 0
    while rows := connection.fetchmany(1024):
        for (text,) in rows:
            yield Document(file.source, f"{file.name}#{row}", (text or "").encode("utf-8"))
            row += 1


def _check_field(file: SourceFile, columns: Sequence[str]) -> None:
    if file.text_field in columns:
        return
    near = get_close_matches(file.text_field, columns, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else f"; it has {', '.join(columns)}"
    raise RunError(f"source `{file.source}`: {file.path} has no field `{file.text_field}`{hint}")

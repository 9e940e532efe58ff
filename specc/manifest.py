"""The manifest: the one contract between the compiler, the runners and the store.

`manifest.json` stands beside the generated code. The compiler writes it, the runners execute it, the store reads it.
Only the standard library is imported here, so that a runner needs nothing else of specc.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

FILE = "manifest.json"
VERSION = 1


@dataclass(frozen=True)
class StageEntry:
    """One stage of the lifecycle, as the runners see it."""

    kind: str
    """pretrain, sft, dpo, evaluate, export, ..."""
    after: tuple[str, ...]
    """Stages whose outputs this one reads."""
    key: str
    """Content address: the hash of everything that decides the outcome, upstream keys included. 12 hex digits."""
    program: str | None
    """Generated script that executes the stage, or None where this version of specc has no lowering for the kind."""
    predictions: dict[str, float | None] = field(default_factory=dict)
    """What the planner says, by name with the unit as suffix (`step_time_s`, `memory_bytes`, `cost_usd`, ...)."""


@dataclass(frozen=True)
class Setting:
    """One value of the resolved spec."""

    value: Any
    effect: str
    """identity, numerics, execution or annotation."""


@dataclass(frozen=True)
class Manifest:
    """Everything a runner or the store needs to know about one compiled experiment."""

    specc: str
    experiment: str
    """Name with its variant, such as `quickstart@rope`."""
    identity: str
    """Hash of every identity-class setting, 12 hex digits."""
    seed: int
    model: dict[str, Any]
    """`file`, `class`, and `parameters` with `total`, `active` and `embedding`."""
    tokenizer: dict[str, Any]
    """`kind`, `vocab_size`, and what the kind declares."""
    data: dict[str, Any]
    """Data sets by name: `sources`, `filters`, `holdout`."""
    stages: dict[str, StageEntry]
    settings: dict[str, Setting]
    """The resolved spec, flat, by dotted path."""
    files: dict[str, str]
    """SHA-256 of every other file of the folder, by relative path."""
    version: int = VERSION

    def to_json(self) -> str:
        """Stable text: keys in the order of declaration, a newline at the end."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read(folder: Path) -> Manifest:
    """Read `folder/manifest.json`; ValueError when it is of another version."""
    raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
    if raw.get("version") != VERSION:
        raise ValueError(f"{folder / FILE} has manifest version {raw.get('version')}, and this specc reads {VERSION}")
    raw["stages"] = {
        name: StageEntry(**{**stage, "after": tuple(stage["after"])}) for name, stage in raw["stages"].items()
    }
    raw["settings"] = {path: Setting(**setting) for path, setting in raw["settings"].items()}
    return Manifest(**raw)


def digest(text: str) -> str:
    """SHA-256 of a file's text, as the manifest records it."""
    return sha256(text.encode("utf-8")).hexdigest()


def changed_files(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Files that are missing or were edited since they were generated."""
    return tuple(
        name
        for name, expected in manifest.files.items()
        if not (folder / name).is_file() or digest((folder / name).read_text(encoding="utf-8")) != expected
    )

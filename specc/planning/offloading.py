"""Requests for offload that say too little, or what nothing uses."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.planning.asked import Asked


def offloads(asked: Asked) -> Iterator[Finding]:
    """NVMe without a folder, and a folder without NVMe."""
    offload = asked.requested.offload
    on_nvme = [name for name in ("optimizer", "parameters") if getattr(offload, name) == "nvme"]
    if on_nvme and offload.nvme_path is None:
        yield Finding(
            "SPC421",
            f"`offload.{on_nvme[0]}` goes to NVMe, and no folder there is given",
            tuple(At(("offload", name)) for name in on_nvme),
            help="write `nvme_path` as well, a folder that every node has on its own disk",
        )
    elif offload.nvme_path is not None and not on_nvme:
        yield Finding(
            "SPC422",
            "`offload.nvme_path` names a folder, and nothing goes to NVMe",
            (At(("offload", "nvme_path")),),
            help="leave it out, or write `optimizer: nvme` as well",
        )

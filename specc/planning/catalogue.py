"""Devices by name, each with the figures the formulas use and where these come from (`catalogue.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from specc.diagnostics import At, Finding
from specc.diagnostics.near import nearest
from specc.ir.plan import Device

GIB = 2**30


def device(name: str) -> Device:
    """The device of that name; KeyError when the catalogue has none."""
    return DEVICES[name]


def has_precision(device: Device, precision: str) -> bool:
    """Whether the device has arithmetic for the precision."""
    return precision in device.peak_flops


def check_device(name: str) -> Iterator[Finding]:
    """A device that the catalogue does not have."""
    if name not in DEVICES:
        near = nearest(name, DEVICES)
        listed = ", ".join(f"`{known}`" for known in DEVICES)
        help_text = f"did you mean `{near}`?" if near else f"it has {listed}"
        headline = f"the hardware catalogue has no device `{name}`"
        yield Finding("SPC416", headline, (At(("cluster", "device")),), help=help_text)


def _load() -> Mapping[str, Device]:
    text = Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8")
    return MappingProxyType({name: _device(name, row) for name, row in tomllib.loads(text).items()})


def _device(name: str, row: Mapping[str, Any]) -> Device:
    return Device(
        name=name,
        title=row["title"],
        memory_bytes=row["memory_gib"] * GIB,
        peak_flops=MappingProxyType({precision: tera * 1e12 for precision, tera in row["peak_tflops"].items()}),
        memory_bandwidth=row["bandwidth_gbs"] * 1e9,
        intra_node_bandwidth=row["links_gbs"]["intra_node"] * 1e9,
        inter_node_bandwidth=row["links_gbs"]["inter_node"] * 1e9,
        matmul_efficiency=row["matmul_efficiency"],
        power_watts=row["power_watts"],
        source=row["source"],
    )


DEVICES: Mapping[str, Device] = _load()

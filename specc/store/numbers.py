"""Numbers as people read them: significant digits, units, and which direction is better."""

from __future__ import annotations

import math
from typing import Any, Literal

Direction = Literal["lower", "higher"]

_LOWER = ("loss", "bits_per_byte", "bits_per_token", "perplexity", "word_perplexity", "byte_perplexity", "brier_score")
_HIGHER = ("acc", "acc_norm", "exact_match", "f1", "mcc", "bleu", "chrf", "rouge", "pass@1", "tokens_per_second")
_BYTES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_THOUSANDS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def direction(metric: str) -> Direction | None:
    """Whether less or more of a metric is better; None where nobody said."""
    # `train/loss` is a loss, and a harness may append a filter, as in `exact_match,strict-match`.
    name = metric.split(",")[0].rsplit("/", 1)[-1]
    if name in _LOWER:
        return "lower"
    return "higher" if name in _HIGHER else None


def decimals(value: float | None) -> str:
    """Four decimals, for losses; other sizes get four significant digits."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0 or 0.1 <= abs(value) < 100:
        return f"{value:.4f}"
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3e}"


def with_error(value: float, stderr: float) -> tuple[str, str]:
    """A value and its standard error with as many decimals as the error has a say in: two significant digits of it."""
    if not (math.isfinite(stderr) and stderr > 0):
        return decimals(value), ""
    places = min(6, max(0, 1 - math.floor(math.log10(stderr))))
    return f"{value:.{places}f}", f"±{stderr:.{places}f}"


def large(value: float | None) -> str:
    """Counts and rates with three significant digits: 812, 12.3k, 4.2M."""
    if value is None or not math.isfinite(value):
        return decimals(value)
    for size, unit in _THOUSANDS:
        if abs(value) >= size * 0.9995:
            return f"{_three(value / size)}{unit}"
    return _three(value)


def size(value: float | None) -> str:
    """Bytes in binary units."""
    if value is None or not math.isfinite(value):
        return decimals(value)
    for unit_size, unit in _BYTES:
        if abs(value) >= unit_size:
            return f"{_three(value / unit_size)} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return decimals(seconds)
    if abs(seconds) < 1:
        return f"{_three(seconds * 1000)} ms"
    if abs(seconds) < 60:
        return f"{_three(seconds)} s"
    minutes = round(seconds / 60)
    if seconds < 3600 and round(seconds) < 3600:
        return f"{round(seconds) // 60}m {round(seconds) % 60:02d}s"
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    return f"{minutes // 1440}d {minutes % 1440 // 60:02d}h"


def quantity(name: str, value: float | None) -> str:
    """A value whose name ends in its unit: `step_time_s`, `memory_bytes`, `cost_usd`."""
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("tokens_per_second"):
        return large(value)
    if name.endswith(("_s", "_seconds")):
        return duration(value)
    if name.endswith("_usd") and value is not None:
        return f"${value:,.2f}"
    return large(value) if value is not None and abs(value) >= 1 else decimals(value)


def percent(fraction: float | None) -> str:
    """A signed fraction as per cent."""
    if fraction is None or not math.isfinite(fraction):
        return "-"
    if abs(fraction) >= 10:
        return f"{fraction + 1:.0f}x" if fraction > 0 else f"{fraction:+.0%}"
    return f"{fraction:+.1%}"


def setting(value: Any) -> str:
    """A value of a spec as the spec writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {setting(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(setting(item) for item in value) + "]"
    return str(value)


def _three(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value == 0:
        return "0"
    value = float(f"{value:.3g}")
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if places > 2 else text

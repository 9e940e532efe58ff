"""Errors as a product: what they say, where they point, how they are shown, and one page per code."""

from specc.diagnostics.diagnostic import (
    At,
    Change,
    Diagnostic,
    Edit,
    Finding,
    Fix,
    Label,
    Remedy,
    Severity,
    Span,
)

__all__ = ["At", "Change", "Diagnostic", "Edit", "Finding", "Fix", "Label", "Remedy", "Severity", "Span"]

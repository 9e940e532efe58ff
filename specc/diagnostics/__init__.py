"""Errors as a product: what they say, where they point, how they are shown, and one page per code."""

from specc.diagnostics.diagnostic import At, Diagnostic, Finding, Label, Severity, Span

__all__ = ["At", "Diagnostic", "Finding", "Label", "Severity", "Span"]

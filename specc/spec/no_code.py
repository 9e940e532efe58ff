"""What the language has and this version cannot emit: the finding, the same wherever it comes from."""

from __future__ import annotations

from specc.diagnostics import At, Finding


def no_code(what: str, at: tuple[At, ...], help_text: str | None = None) -> Finding:
    """A note, which is an error where code is asked for (`driver.check(..., emitting=True)`)."""
    why = "it is checked, planned and locked; `specc compile` and `specc run` are refused"
    return Finding("SPC813", f"this version of specc emits no code for {what}", at, (why,), help_text, severity="note")

"""`schema`: the language for editors and for readers."""

from __future__ import annotations

from pathlib import Path

import click

from specc.cli.compiling import fail

_FORMS = ("json", "markdown")


@click.command()
@click.option("--of", "part", metavar="PATH", help="Only this section, such as `cluster`: for presets of it.")
@click.option("--format", "form", type=click.Choice(_FORMS), default="json", show_default=True, help="Form.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write, for markdown a folder.")
def schema(part: str | None, form: str, out: Path | None) -> None:
    """Print the language: a JSON Schema for editors, or the pages of the reference."""
    from specc.reference.sections import language

    if form == "markdown":
        from specc.reference.markdown import render

        if part is not None:
            raise click.UsageError("--of is for --format json: the reference is written whole")
        files = render(language())
        texts = "\n".join(files.values()) if out is None else {out / name: text for name, text in files.items()}
    else:
        text = _json(part)
        texts = text if out is None else {out: text}
    if isinstance(texts, str):
        click.echo(texts, nl=False)
        return
    _write(texts)


def _json(path: str | None) -> str:
    from specc.reference.json_schema import as_text, part, schema
    from specc.reference.sections import language

    if path is None:
        return as_text(schema(language()))
    found = part(language(), tuple(path.split(".")))
    if found is None:
        fail(f"the language has no section `{path}`; `specc schema --format markdown` lists them")
    assert found is not None
    return as_text(found)


def _write(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            fail(f"{error.filename or path} cannot be written: {error.strerror or error}")


COMMANDS: tuple[click.Command, ...] = (schema,)

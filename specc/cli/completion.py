"""`completion`: the shell's side; and what is offered for specs, stages, paths of `--set` and codes."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")
_YAML = (".yaml", ".yml")
_VARIABLE = "_SPECC_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes specc's words in SHELL.

    bash: eval "$(specc completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc, after compinit;
    fish: specc completion fish > ~/.config/fish/completions/specc.fish
    """
    if shell == "bash":
        click.echo(_BASH, nl=False)
        return
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.get_current_context().find_root().command, {}, "specc", _VARIABLE).source())


# Click's own script with two changes: `=` and `:` do not break a word, so that `--set model.position.kind=` is one;
# and no blank follows what goes on, a folder or a path of `--set`.
_BASH = """\
_specc_completion() {
    local IFS=$'\\n' response completion type value cur prefix
    local -a words
    local cword
    if declare -F _comp__reassemble_words >/dev/null; then
        _comp__reassemble_words "=:" words cword
    elif declare -F __reassemble_comp_words_by_ref >/dev/null; then
        __reassemble_comp_words_by_ref "=:" words cword
    else
        words=() cword=0
        local line=${COMP_LINE:0:$COMP_POINT}
        IFS=$' \\t\\n' read -r -a words <<< "$line"
        [[ $line == *[[:space:]] ]] && words+=("")
        cword=$(( ${#words[@]} - 1 ))
    fi
    cur=${words[cword]}
    response=$(IFS=' '; COMP_WORDS="${words[*]}" COMP_CWORD=$cword _SPECC_COMPLETE=bash_complete "${words[0]}")
    COMPREPLY=()
    for completion in $response; do
        type=${completion%%,*} value=${completion#*,}
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain)
                [[ $value == *= || $value == */ ]] && compopt -o nospace 2>/dev/null
                # Readline replaces what follows the last `=`, so that is all it may be given.
                [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]] && value=${value#"${cur%"${cur##*=}"}"}
                COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F _specc_completion specc
"""


def specs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """YAML files, and folders on the way to them."""
    del ctx, parameter
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    start = "" if incomplete.endswith("/") else Path(incomplete).name
    shown = incomplete[: len(incomplete) - len(start)]
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.startswith(start))
    except OSError:
        return []
    hidden = start.startswith(".")
    folders = [f"{shown}{path.name}/" for path in paths if path.is_dir() and (hidden or path.name[0] not in "._")]
    files = [f"{shown}{path.name}" for path in paths if path.suffix in _YAML and path.is_file()]
    return [CompletionItem(word) for word in (*files, *folders)]


def stages(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Stages of the spec that stands on the line."""
    del parameter
    from specc.spec.paths import stages as named

    given = ctx.params.get("stages") or ()
    return [CompletionItem(name) for name in named(_spec(ctx)) if name.startswith(incomplete) and name not in given]


def settings(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Paths that `--set` may set in the spec that stands on the line; after `=`, the words that the key takes."""
    del parameter
    from specc.spec.paths import paths, values

    path, equals, text = incomplete.partition("=")
    if equals:
        return [CompletionItem(f"{path}={word}") for word in values(_spec(ctx), path) if word.startswith(text)]
    found = paths(_spec(ctx))
    return [CompletionItem(f"{path}=", help=meaning) for path, meaning in found.items() if path.startswith(incomplete)]


def codes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Diagnostic codes with their titles."""
    del ctx, parameter
    from specc.diagnostics import pages

    matching = (code for code in pages.codes() if code.startswith(incomplete.upper()))
    return [CompletionItem(code, help=pages.title(code)) for code in matching]


def _spec(ctx: click.Context) -> Path | None:
    found = ctx.params.get("spec")
    if isinstance(found, Path):
        return found
    # Click reads no arguments when the last option waits for its value, which is when we are asked.
    words = os.environ.get("COMP_WORDS", "").split()
    return next((Path(word) for word in words if word.endswith(_YAML)), None)


COMMANDS: tuple[click.Command, ...] = (completion,)

"""continuity completion: the shell's completion script."""

from __future__ import annotations

import click

from session_continuity.cli.arguments import Call, Command, pass_call
from session_continuity.cli.output import write_text


@click.command(
    cls=Command,
    examples=(
        'eval "$(continuity completion bash)"              # in ~/.bashrc',
        'eval "$(continuity completion zsh)"               # in ~/.zshrc',
        "continuity completion fish > ~/.config/fish/completions/continuity.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_call
def completion(call: Call, shell: str) -> None:
    """Print the shell's completion script."""
    from click.shell_completion import get_completion_class

    from session_continuity.cli.app import root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    script = kind(root, {}, "continuity", "_CONTINUITY_COMPLETE").source()
    call.answer({"shell": shell, "script": script}, lambda: write_text(script))

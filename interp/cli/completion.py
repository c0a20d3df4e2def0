"""Completion in the shell, made from what can be typed: `source <(interp completion bash)`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from interp import plugins

KINDS = {
    "--method": "circuits",
    "--detector": "jumps/detectors",
    "--measure": "indicators",
    "task": "tasks",
}
"""Options and arguments whose values are plug-ins -> the folder of their kind."""

VALUES = {
    "--dtype": ("float32", "float16", "bfloat16"),
    "--device": ("cpu", "cuda", "mps"),
    "--gpu": ("t4", "v100", "l4", "a100", "h100", "h200"),
    "--to": ("tensorboard:", "wandb:", "trackio:"),
}

SCRIPT = """{head}_interp() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} options="" values=""
  if [[ $COMP_CWORD -eq 1 ]]; then COMPREPLY=($(compgen -W "{commands} --help --version" -- "$cur")); return; fi
  case "$command $prev" in
{after}
  esac
  case "$command" in
{of}
  esac
  if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$cur"))
  else COMPREPLY=($(compgen -W "$values" -- "$cur") $(compgen -f -- "$cur")); fi
}}
complete -o filenames -F _interp interp
"""


def do_completion(args: argparse.Namespace) -> int:
    """interp completion SHELL"""
    print(script(args.parser, args.shell), end="")
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What a shell is to read: bash, or zsh, which reads bash's."""
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    after = [line for name, one in commands.items() for line in _after(name, one)]
    of = [
        f'    {name}) options="{" ".join(option for action in one._actions for option in action.option_strings)}"'
        f' values="{" ".join(value for action in one._actions if not action.option_strings for value in _values(action))}" ;;'
        for name, one in commands.items()
    ]
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return SCRIPT.format(head=head, commands=" ".join(commands), after="\n".join(after), of="\n".join(of))


def _after(command: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A case for each option that takes one of some values."""
    for action in parser._actions:
        values = _values(action)
        for option in action.option_strings if values else ():
            words = " ".join(values)
            yield f'    "{command} {option}") COMPREPLY=($(compgen -W "{words}" -- "$cur")); return ;;'


def _values(action: argparse.Action) -> list[str]:
    if action.choices:
        return [str(choice) for choice in action.choices]
    name = action.option_strings[0] if action.option_strings else action.dest
    if name in KINDS:
        found = plugins.names(KINDS[name])
        return [one.replace("_", "-") for one in found] if name == "--method" else list(found)
    return list(VALUES.get(name, ()))

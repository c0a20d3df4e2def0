"""The command line: what can be typed (parser), and what each command does (commands)."""

from interp.cli.parser import main

__all__ = ["main"]

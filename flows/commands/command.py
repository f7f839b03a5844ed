"""Interface of the sub-commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn, Protocol

from flows.run.outcome import EXIT_INPUT
from flows.run.summary import Summary

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]
    """Collection to which sub-commands add their parsers."""


class Parser(argparse.ArgumentParser):
    """Parser that exits with one message and a `help:` line, like all errors of this program."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        self.exit(EXIT_INPUT, f"{self.prog}: {message}\nhelp: {self.prog} --help\n")


class Command(Protocol):
    """Interface of a sub-command's module."""

    def add_parser(self, commands: Commands) -> None:
        """Add the sub-command's parser under the name that `flows.cli.COMMANDS` gives it."""
        ...

    def run(self, wanted: argparse.Namespace) -> Summary:
        """Run the command in the current folder; HeadforgeError becomes exit code 2."""
        ...


def add_command(commands: Commands, name: str, purpose: str, description: str, examples: str = "") -> Parser:
    """Add a parser with `--json`; `purpose` is its line in `headforge --help`, the rest its own help."""
    parser = commands.add_parser(
        name, help=purpose, description=description, epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    return parser

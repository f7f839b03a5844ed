"""The console script `headforge`."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import select
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.commands import (
    assets,
    doctor,
    down,
    gc,
    inspect,
    plan,
    reap,
    remake,
    retry,
    up,
    verify,
    why,
)
from flows.commands.command import Command, Parser
from flows.commands.exchange import export, importing
from flows.run.driver import run_request
from flows.run.outcome import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_ITEMS, EXIT_PIPE, unexpected_error_message
from flows.run.summary import Request, Summary, print_summary
from flows.stages import STAGES
from headforge.errors import ConfigError, HeadforgeError, InputError

INTERRUPTED = "interrupted; finished work is kept.\nhelp: run the same command again to resume."

DESCRIPTION = """From seeds and photos to multi-view head datasets, a head diffusion model and animatable avatars.

Every stage is also a DVC stage: 'dvc repro' does what 'headforge run' does."""

EXAMPLES = """examples:
  headforge run                                      bring everything up to date
  headforge run --portrait me.jpg --portrait you.jpg make avatars of these photos
  headforge track --video talk.mp4                   track the person in a video
  headforge run --preset tiny                        a chain of a minute or two
  headforge run -S train.n_images_seen=32000         change a value of params.yaml, then rerun what depends on it
  headforge synthesize -S synthesize.n_subjects=480  one stage
  headforge verify --repair                          hash everything again and rebuild damaged results
  headforge why track                                which settings or inputs have changed
  headforge inspect data/avatars/astronaut           describe a file or folder
  headforge export data/synthetic --to huggingface OUT  write the dataset in another program's format

exit codes: 0 done; 1 some items were rejected or failed (listed, the rest finished);
  2 the input or the configuration is wrong; 130 interrupted"""


GENERATOR_HELP = "builtin, or spherehead or panohead after 'headforge assets add' of their weights"
COMMANDS: Mapping[str, Command] = {
    "verify": verify,
    "inspect": inspect,
    "why": why,
    "remake": remake,
    "retry": retry,
    "gc": gc,
    "export": export,
    "import": importing,
    "assets": assets,
    "doctor": doctor,
    "plan": plan,
    "up": up,
    "down": down,
    "reap": reap,
}
"""Commands of `headforge` besides the stages, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        try:
            exit_code = _answer(_parser().parse_args(arguments))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        _drop_output()
        exit_code = EXIT_PIPE
    except OSError as error:
        _drop_output()
        with contextlib.suppress(OSError):
            print(f"the output can't be written: {error.strerror}.\nhelp: send it elsewhere.", file=sys.stderr)
        exit_code = EXIT_INPUT
    sys.exit(exit_code)


def _answer(wanted: argparse.Namespace) -> int:
    """Run the command, say what became of it and return the exit code; OSError if the output can't be written."""
    try:
        _require_folder()
        summary = _run(wanted)
    except HeadforgeError as error:
        summary = Summary("failed", EXIT_INPUT, message=str(error))
    except KeyboardInterrupt:
        summary = Summary("interrupted", EXIT_INTERRUPTED, message=INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and _is_output_gone():
            raise
        summary = Summary("failed", EXIT_ITEMS, message=unexpected_error_message(wanted.command, error))
    print_summary(summary)
    if getattr(wanted, "json", False):
        print(summary.as_json())
    return summary.exit_code


def _require_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        message = "the current folder does not exist any more."
        raise InputError(".", message, "change into a folder that exists and run the command again.") from error


def _is_output_gone() -> bool:
    """Return whether the output takes nothing any more: a pipe without a reader, a full device."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
            os.write(stream.fileno(), b"")
            waiting = select.poll()
            waiting.register(stream.fileno(), select.POLLOUT)
            if any(event & select.POLLERR for _, event in waiting.poll(0)):
                return True
        except io.UnsupportedOperation:
            continue
        except OSError:
            return True
    return False


def _drop_output() -> None:
    """Let what is still to be written to a broken output go nowhere, or Python complains of it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _run(wanted: argparse.Namespace) -> Summary:
    if wanted.command in COMMANDS:
        return COMMANDS[wanted.command].run(wanted)
    stages = {} if wanted.command == "run" else {"stages": (wanted.command,)}
    names = ("portrait", "video", "landmarks")
    portraits, videos, landmarks = (tuple(getattr(wanted, name, None) or ()) for name in names)
    if len(landmarks) > len(videos):
        message = "there are more --landmarks than --video options."
        raise ConfigError("--landmarks", len(landmarks), message, "give one for each video, in the same order.")
    face = getattr(wanted, "face", None)
    if face is not None and not (portraits or videos):
        raise ConfigError("--face", face, "--face selects a face in a photo or video, and none was given.",
                          "give one with --portrait or --video.")  # fmt: skip
    generator = getattr(wanted, "generator", None)
    assignments = (*wanted.set, *(() if generator is None else (f"synthesize.generator={generator}",)))
    request = Request(**stages, preset=wanted.preset, assignments=assignments, portraits=portraits,
                      videos=videos, landmarks=landmarks, face=face)  # fmt: skip
    return run_request(request, Path.cwd())


def _parser() -> Parser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = Parser("headforge", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=formatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    run = commands.add_parser("run", help="run the whole chain", description="Bring every stage up to date.",
                              epilog=EXAMPLES, formatter_class=formatter)  # fmt: skip
    _add_inputs(run)
    _add_settings(run)
    for stage in STAGES:
        text = f"{stage.purpose[0].upper()}{stage.purpose[1:]}: {stage.output.as_posix()}."
        stage_parser = commands.add_parser(stage.name, help=stage.purpose, description=text)
        if stage.name == "synthesize":
            stage_parser.add_argument("--generator", metavar="NAME", help=GENERATOR_HELP)
        if stage.name == "track":
            _add_inputs(stage_parser)
        _add_settings(stage_parser)
    for command in COMMANDS.values():
        command.add_parser(commands)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--portrait", action="append", type=Path, metavar="PHOTO",
        help="make an avatar of this photo instead of the portraits in params.yaml; repeatable",
    )  # fmt: skip
    parser.add_argument("--video", action="append", type=Path, metavar="FILE",
                        help="track the person in this video instead of those in params.yaml; repeatable")  # fmt: skip
    parser.add_argument("--landmarks", action="append", type=Path, metavar="FILE",
                        help="landmarks (.npz, .csv) of the video instead of detected ones; repeatable")  # fmt: skip
    parser.add_argument("--face", type=int, metavar="N",
                        help="number of the face in the photo or video; 0 is the largest")  # fmt: skip


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", metavar="NAME", help="apply presets/NAME.yaml to params.yaml first")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="section.key=value",
                        help="then set a value in params.yaml; repeatable")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")


if __name__ == "__main__":
    main()

"""Request and result of a command."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from flows.run.outcome import EXIT_DONE, Rejection
from flows.stages import STAGE_NAMES


@dataclass(frozen=True)
class Request:
    """Stages to run, and changes of params.yaml to make first."""

    stages: tuple[str, ...] = STAGE_NAMES
    preset: str | None = None
    assignments: tuple[str, ...] = ()
    portraits: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    landmarks: tuple[Path, ...] = ()
    """Landmark files, one for each of the first videos."""
    face: int | None = None
    """Number of the face in each photo and video; by default the largest."""


@dataclass
class Summary:
    """Result of a command."""

    status: str = "done"
    """done, nothing_to_do, or failed."""
    exit_code: int = EXIT_DONE
    stages: dict[str, str] = field(default_factory=dict)
    """"ran" or "unchanged" by name."""
    rejected: list[Rejection] = field(default_factory=list)
    message: str = ""
    report: str = ""
    details: dict[str, object] = field(default_factory=dict)
    """Further JSON values of the command, added to the line of JSON."""

    def as_json(self) -> str:
        """Return the summary as one line of JSON."""
        return json.dumps(
            self.details
            | {
                "status": self.status,
                "exit_code": self.exit_code,
                "stages": self.stages,
                "rejected": [{"item": item.item, "reason": item.reason} for item in self.rejected],
                "message": self.message,
                "report": self.report,
            }
        )


def print_summary(summary: Summary) -> None:
    """Print the summary of a command."""
    if summary.message:
        print(summary.message, file=sys.stderr)
    if summary.rejected:
        state = "damaged" if summary.status == "damaged" else "rejected"
        print(f"{state}: {len(summary.rejected)}", file=sys.stderr)
        for item in summary.rejected:
            print(f"  {item}", file=sys.stderr)
        print(f"help: {summary.rejected[0].help or 'see the report.'}", file=sys.stderr)
    if summary.status == "nothing_to_do":
        print("Everything is up to date: there is nothing to do.")
    if summary.report and summary.status != "failed":
        print(f"report: {summary.report}")

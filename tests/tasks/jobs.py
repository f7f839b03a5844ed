"""What the tests' items do, in worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from headforge.errors import InputError
from headforge.progress import Progress


def write_text(text: str, folder: Path, progress: Progress) -> None:
    progress.start(1, "letter")
    (folder / "text").write_text(text)
    progress.item_done(text)


def refuse(folder: Path, progress: Progress) -> None:
    raise InputError("x", "x can't be used.", "use y.")


def crash_once(marker: Path, folder: Path, progress: Progress) -> None:
    if not marker.exists():
        marker.touch()
        raise ValueError("the first try fails")
    (folder / "text").write_text("second try")


def die(folder: Path, progress: Progress) -> None:
    os._exit(9)


def kill_worker_once(marker: Path, folder: Path, progress: Progress) -> None:
    (folder / "text").write_text("half")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "text").write_text("whole")


def threads(progress: Progress) -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def process_id(progress: Progress) -> int:
    return os.getpid()


def echo(value: str, progress: Progress) -> str:
    return value


def card(progress: Progress) -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def wait_for(marker: Path, folder: Path, progress: Progress) -> str:
    (folder / "waiting").touch()
    while not marker.exists():
        time.sleep(0.01)
    return "went"


def go_on(folder: Path, work: Path, progress: Progress) -> None:
    """Fails after leaving a checkpoint, and ends well when it finds one."""
    checkpoint = work / "checkpoint"
    if not checkpoint.exists():
        checkpoint.write_text("half")
        raise ValueError("stopped half-way")
    (folder / "text").write_text(checkpoint.read_text() + " and whole")


def show_picture(path: Path, progress: Progress) -> None:
    progress.image("x", path)


def log_and_write(number: int, log: Path, folder: Path, progress: Progress) -> None:
    with log.open("a") as file:
        file.write(f"{number}\n")
    for part in range(4):
        (folder / f"part-{part}").write_bytes(bytes([number]) * 1000 * (part + 1))
        time.sleep(0.01)

"""Detection of failed downloads: empty files, Git LFS pointers and web pages."""

from __future__ import annotations

from pathlib import Path

from headforge.errors import InputError

HEAD_BYTES = 512
LFS_START = b"version https://git-lfs"
PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<script")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def check_downloaded(path: Path) -> bytes:
    """Return the first 512 bytes of a file of weights.

    Raises InputError if it is not there, a folder, empty, forbidden, a Git LFS pointer or a web page.
    """
    if path.is_dir():
        raise InputError(path, f"'{path}' is a folder, expected a file.", "give the path of the file itself.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise InputError(path, f"there is no file '{path}'.", "check the path.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(path, f"'{path}' can't be read: {reason}.", "check the path and its permissions.") from error
    if not head:
        raise InputError(path, f"'{path}' is empty.", "download the file again.")
    if head.startswith(LFS_START):
        raise InputError(
            path,
            f"'{path}' is a Git LFS pointer of {path.stat().st_size} bytes, not the file it stands for.",
            "run 'git lfs pull' in its checkout, or download the file from the project's page.",
        )
    if head.removeprefix(BYTE_ORDER_MARK).lstrip().lower().startswith(PAGE_STARTS):
        raise InputError(
            path,
            f"'{path}' is a web page, not a file of weights: the server answered with a page under this name.",
            "open the link in a browser, accept the terms or sign in there, and download the file itself.",
        )
    return head

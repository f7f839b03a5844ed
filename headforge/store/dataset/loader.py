"""Shuffled, decoded batches of a dataset for training.

The order is a function of (seed, epoch) alone. An epoch permutes the subjects, cuts them into windows, and shuffles
the views inside each window: a row group is read once per epoch, and memory is bounded by the window, not by the
dataset's size. Each worker owns the subjects at every n-th position of the epoch and delivers that part of the global
order, so no two workers read the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from headforge.errors import ConfigError, DataError
from headforge.geometry.seeding import item_seed
from headforge.settings import LARGEST_SEED, check_settings, require, setting
from headforge.store.dataset.columns import picture_column
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.views import Views, decode_views
from headforge.store.images import decode_image_into


@dataclass(frozen=True)
class LoaderConfig:
    """Settings of the batch order and the decoding."""

    seed: int = setting(0, at_least=-LARGEST_SEED, at_most=LARGEST_SEED)
    """Seed of the shuffling."""
    batch_size: int = setting(32, at_least=1, at_most=1_000_000)
    """Views in a batch; a multiple of views_together."""
    views_together: int = setting(1, at_least=1, at_most=1_000_000)
    """Number of consecutive views of one subject; each epoch leaves over other views."""
    window_subjects: int = setting(64, at_least=1, at_most=10_000_000)
    """Subjects shuffled together, over all workers; up to three windows of encoded images are in memory."""
    with_masks: bool = True
    """Whether masks are decoded."""
    worker: int = setting(0, at_least=0, at_most=1_000_000)
    """Index of this process among those that share the dataset."""
    n_workers: int = setting(1, at_least=1, at_most=1_000_000)
    """Number of processes that share the dataset."""
    n_threads: int = setting(1, at_least=1, at_most=4096)
    """Decoding threads; one more thread reads."""
    n_batches_ahead: int = setting(4, at_least=1, at_most=100_000)
    """Number of batches decoded in advance."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_settings(self, "loader")
        is_whole = self.batch_size % self.views_together == 0
        require(self, "loader", "batch_size", is_whole, f"a multiple of views_together, {self.views_together}")
        require(self, "loader", "worker", self.worker < self.n_workers, f"below n_workers, {self.n_workers}")


@dataclass(frozen=True)
class ViewBatch:
    """A batch of B decoded views."""

    images: np.ndarray
    """[B, H, W, 3] uint8."""
    masks: np.ndarray | None
    """[B, H, W] uint8; None without `with_masks`."""
    views: Views
    """[B] cameras, parameters and the other columns."""


@dataclass(frozen=True)
class _Window:
    """The rows of a worker's subjects in one window."""

    images: pa.ChunkedArray
    masks: pa.ChunkedArray | None
    views: Views


class Loader:
    """Loads shuffled batches of views of a dataset's subjects.

    Opens the dataset's files separately, so it may be used beside other readers and sent to another process.
    """

    def __init__(self, dataset: Dataset, config: LoaderConfig, subject_ids: Sequence[str] | None = None) -> None:
        """Load all subjects, or those given. Raises ConfigError if a worker would have no views."""
        self.config = config
        self._dataset = dataset.reopened()
        chosen = dataset.subject_ids() if subject_ids is None else list(subject_ids)
        self._views_of = {name: len(dataset.views_of(name)) for name in chosen}
        self._subjects = [name for name in chosen if self._views_of[name] >= config.views_together]
        if len(self._subjects) < config.n_workers:
            found = f"{len(self._subjects)} subjects have {config.views_together} views"
            raise ConfigError("n_workers", config.n_workers, f"{found}, too few for {config.n_workers} workers.",
                              "use fewer workers or a smaller views_together.")  # fmt: skip

    def n_images(self, epoch: int) -> int:
        """Return the number of views that this worker delivers in an epoch."""
        together = self.config.views_together
        owned = (self._subjects[i] for i in self._permutation(epoch)[self.config.worker :: self.config.n_workers])
        return sum(self._views_of[name] // together * together for name in owned)

    def order(self, epoch: int) -> Iterator[tuple[str, int]]:
        """Yield (subject, row number) of this worker's views in an epoch, in delivery order."""
        for subjects, rows in self._windows(epoch):
            yield from ((subjects[subject], row) for subject, row in rows)

    def batches(self, n_images_seen: int = 0) -> Generator[ViewBatch, None, None]:
        """Yield batches endlessly, epoch after epoch, starting after this worker's first `n_images_seen` views.

        Raises ConfigError if `n_images_seen` is not a multiple of `views_together`, DataError if a picture is damaged.
        """
        n_together = self.config.views_together
        if n_images_seen < 0 or n_images_seen % n_together:
            message = f"n_images_seen is {n_images_seen}, it must be a multiple of {n_together}."
            raise ConfigError("n_images_seen", n_images_seen, message, f"give a multiple of {n_together}.")
        pending: deque[Future[ViewBatch]] = deque()
        reader, decoders = ThreadPoolExecutor(1), ThreadPoolExecutor(self.config.n_threads)
        try:
            rows = self._rows(reader, n_images_seen)
            while True:
                while len(pending) <= self.config.n_batches_ahead:
                    pending.append(decoders.submit(_decode, list(islice(rows, self.config.batch_size))))
                yield pending.popleft().result()
        finally:
            for pool in (reader, decoders):
                pool.shutdown(cancel_futures=True)

    def _rows(self, reader: ThreadPoolExecutor, n_images_seen: int) -> Iterator[tuple[_Window, int]]:
        """Yield (window, row) pairs; the next window is read while the current one is used."""
        following: Future[_Window] | None = None
        following_rows: list[int] = []
        for subjects, rows in self._windows_after(n_images_seen):
            reading = reader.submit(self._read, subjects)
            starts = np.cumsum([0, *(self._views_of[name] for name in subjects)])
            if following is not None:
                window = following.result()
                yield from ((window, row) for row in following_rows)
            following, following_rows = reading, [int(starts[subject]) + row for subject, row in rows]

    def _windows_after(self, n_images_seen: int) -> Iterator[tuple[list[str], list[tuple[int, int]]]]:
        epoch, skipped = 0, n_images_seen
        while skipped >= (n_images := self.n_images(epoch)):
            epoch, skipped = epoch + 1, skipped - n_images
        while True:
            for subjects, rows in self._windows(epoch):
                if skipped < len(rows):
                    yield subjects, rows[skipped:]
                skipped = max(0, skipped - len(rows))
            epoch += 1

    def _windows(self, epoch: int) -> Iterator[tuple[list[str], list[tuple[int, int]]]]:
        """Yield this worker's subjects in each window of an epoch, and (subject index, row) of their views."""
        config, permutation = self.config, self._permutation(epoch)
        for start in range(0, len(permutation), config.window_subjects):
            places = range(start, min(start + config.window_subjects, len(permutation)))
            groups = [
                (place, rows) for place in places for rows in self._groups(epoch, self._subjects[permutation[place]])
            ]
            order = np.random.default_rng(item_seed(config.seed, "window", epoch, start)).permutation(len(groups))
            owned = [place for place in places if place % config.n_workers == config.worker]
            if owned:
                number = {place: i for i, place in enumerate(owned)}
                mine = (groups[i] for i in order if groups[i][0] in number)
                subjects = [self._subjects[permutation[place]] for place in owned]
                yield subjects, [(number[place], int(row)) for place, rows in mine for row in rows]

    def _groups(self, epoch: int, subject_id: str) -> np.ndarray:
        """Return shuffled row numbers [n_groups, views_together] of a subject; leftover rows are in no group."""
        n, together = self._views_of[subject_id], self.config.views_together
        shuffled = np.random.default_rng(item_seed(self.config.seed, "views", epoch, subject_id)).permutation(n)
        return shuffled[: n // together * together].reshape(-1, together)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(item_seed(self.config.seed, "subjects", epoch)).permutation(len(self._subjects))

    def _read(self, subjects: Sequence[str]) -> _Window:
        table = self._dataset.tables(subjects)
        masks = picture_column(table, "mask") if self.config.with_masks else None
        return _Window(picture_column(table, "image"), masks, decode_views(table))


def _decode(rows: list[tuple[_Window, int]]) -> ViewBatch:
    """Decode one batch, whose rows may come from several windows."""
    windows = list({id(window): window for window, _ in rows}.values())
    views = Views.concatenate([w.views.take([row for window, row in rows if window is w]) for w in windows])
    height, width = views.camera.height, views.camera.width
    images = np.empty((len(rows), height, width, 3), np.uint8)
    masks = np.empty((len(rows), height, width), np.uint8) if windows[0].masks is not None else None
    for i, (window, row) in enumerate(rows):
        try:
            decode_image_into(window.images[row].as_py(), images[i])
            if masks is not None and window.masks is not None:
                decode_image_into(window.masks[row].as_py(), masks[i])
        except DataError as error:
            item = f"{views.subject_ids[i]}/{views.views[i]}"
            raise DataError(item, f"{item}: {error.message}", error.help) from error
    return ViewBatch(images, masks, views)

"""The dataset page, for the stage that makes the dataset."""

from __future__ import annotations

from pathlib import Path

from headforge.report.blocks import Hero, Page
from headforge.report.inputs import read_run
from headforge.report.page import render_page
from headforge.report.sections.coverage import coverage_section
from headforge.report.sections.dataset import dataset_section, described
from headforge.store.dataset.shards import Dataset
from headforge.store.files import write_bytes


def build_dataset_page(dataset: Path, n_contact_subjects: int, output: Path) -> Path:
    """Write the self-contained page `output`/index.html about the dataset in the folder `dataset`.

    The bytes depend on the dataset and the number of people on the contact sheet only. Raises DataError if there is no
    dataset.
    """
    opened = Dataset(dataset)
    about = opened.description
    run = read_run(dataset, None, None, None, None)
    splits = ", ".join(f"{count} {split}" for split, count in sorted(about["n_subjects_by_split"].items()))
    facts = (
        f"{about['n_subjects']:,} people ({splits})",
        f"{about['n_views']:,} views",
        f"{about['n_rejected']:,} views rejected",
        f"made by {about['generator']}",
    )
    hero = Hero("Dataset", described(opened), facts)
    page = Page(hero, (dataset_section(run, n_contact_subjects), coverage_section(run)))
    index = output / "index.html"
    write_bytes(index, render_page(page).encode("utf-8"))
    return index

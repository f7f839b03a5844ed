"""The stage `report`: one self-contained page about a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headforge.report.blocks import Gallery, Grid, Hero, Page, Picture, Section
from headforge.report.config import ReportConfig
from headforge.report.inputs import Run, read_run
from headforge.report.page import render_page
from headforge.report.sections.avatars import avatars_section
from headforge.report.sections.control_maps import control_map_pictures
from headforge.report.sections.coverage import coverage_section
from headforge.report.sections.dataset import dataset_section
from headforge.report.sections.lineage import lineage_section
from headforge.report.sections.metrics import avatar_tables, headline_cards, metrics_section
from headforge.report.sections.models import model_section
from headforge.report.sections.portrait import hero_pictures, portrait_section
from headforge.report.sections.tracking import tracking_section
from headforge.report.sections.videos import videos_section
from headforge.report.sections.viewer import viewer_section
from headforge.report.sheets import gallery_sheet, labelled_grid
from headforge.store.files import write_bytes
from headforge.store.images import encode_png
from headforge.types import MethodOutput

VERSION = 2


def build_report(
    config: ReportConfig,
    dataset: Path | None,
    tracked: Path | None,
    models: Path | None,
    avatars: Path | None,
    metrics: Path | None,
    output: Path,
    lineage: Mapping[str, object],
    *,
    trained: Sequence[MethodOutput],
    fitted: Sequence[MethodOutput],
) -> Path:
    """Write the self-contained page `output`/index.html and sheets in `output`/figures; return the page.

    Any input may be None or a folder that does not exist: its part of the page then says so. The bytes depend on the
    arguments' contents only. `lineage` holds what the run was made from; times, run ids and folders are left out.
    `trained` and `fitted` are the methods whose results are in `models` and `avatars`; each has its own section.
    """
    run = read_run(dataset, tracked, models, avatars, metrics, trained, fitted)
    page = compose_page(config, run, lineage, trained)
    for name, sheet in figures(page).items():
        write_bytes(output / "figures" / f"{name}.png", sheet)
    index = output / "index.html"
    write_bytes(index, render_page(page).encode("utf-8"))
    return index


def compose_page(
    config: ReportConfig, run: Run, lineage: Mapping[str, object], trained: Sequence[MethodOutput]
) -> Page:
    """Return the contents of the page."""
    maps = {model: control_map_pictures(run, model, config.n_control_rows) for model in trained}
    sections = (
        viewer_section(run, config.n_viewer_avatars, config.viewer_max_gaussians),
        portrait_section(run, config.n_portraits, run.metrics.likeness),
        *(
            avatars_section(run, method, config.n_avatars, config.n_avatar_views, avatar_tables(run.metrics, method))
            for method in run.methods
        ),
        *(model_section(run, model, config.n_control_rows, maps[model]) for model in trained),
        tracking_section(run, config.n_tracking_overlays, config.n_tracking_compared),
        *((videos_section(run),) if run.videos else ()),
        dataset_section(run, config.n_contact_subjects),
        coverage_section(run),
        metrics_section(run.metrics),
        lineage_section(lineage),
    )
    subtitle = (
        "Heads are synthesized and tracked, a diffusion model learns to draw a person from other sides under the "
        "control of a head model, and Gaussian avatars are fitted. Every number stands beside its baseline."
    )
    hero = Hero(
        config.title,
        subtitle,
        _facts(run),
        hero_pictures(run),
        headline_cards(run.metrics.headline, trained, run.methods),
    )
    return Page(hero, sections)


def figures(page: Page) -> dict[str, bytes]:
    """Return PNG sheets of each section's first grid or gallery of pictures, for experiment trackers."""
    sheets: dict[str, bytes] = {}
    for section in page.sections:
        sheet = _first_sheet(section)
        if sheet is not None:
            sheets[section.anchor] = sheet
    return sheets


def _first_sheet(section: Section) -> bytes | None:
    for block in section.blocks:
        if isinstance(block, Grid) and block.rows:
            return encode_png(labelled_grid(block))
        if isinstance(block, Gallery):
            pictures = [item for item in block.items if isinstance(item, Picture)]
            if pictures:
                return encode_png(gallery_sheet(pictures))
    return None


def _counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _facts(run: Run) -> tuple[str, ...]:
    facts: list[str] = []
    if run.dataset is not None:
        about = run.dataset.description
        facts.append(
            f"{about['n_subjects']} synthetic people, {about['n_views']:,} pictures of {run.dataset.image_size} px"
        )
        held_out = about["n_subjects_by_split"].get("test", 0)
        if held_out:
            facts.append(f"{held_out} people held out")
    if run.tracks:
        facts.append(f"{len(run.tracks):,} views tracked")
    subjects = run.subject_avatars()
    if subjects:
        facts.append(_counted(len(subjects), "avatar of a held-out person", "avatars of held-out people"))
    if run.videos:
        facts.append(_counted(len(run.videos), "video", "videos"))
    if run.portraits:
        facts.append(_counted(len(run.portraits), "portrait", "portraits"))
    return tuple(facts)

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from flows.project.project import ProjectError
from flows.project.provenance import locked_outputs
from flows.upkeep.verify import DVC_CACHE, published_files
from headforge.store.files import write_bytes

MD5 = "0123456789abcdef" * 2


def lock(root: Path, name: str, md5: str) -> None:
    content = {"schema": "2.0", "stages": {"synthesize": {"cmd": "x", "outs": [{"path": name, "md5": md5}]}}}
    (root / "dvc.lock").write_text(json.dumps(content))


@pytest.mark.parametrize(("name", "md5"), [("../x", MD5), ("/x", MD5), ("x", "../../../x"), ("x", f"{MD5}/../x")])
def test_an_output_outside_the_project_is_refused(tmp_path: Path, name: str, md5: str) -> None:
    lock(tmp_path, name, md5)
    with pytest.raises(ProjectError):
        locked_outputs(tmp_path, ["synthesize"])


def test_outputs_inside_the_project_are_listed(tmp_path: Path) -> None:
    lock(tmp_path, "data/dataset", f"{MD5}.dir")
    assert locked_outputs(tmp_path, ["synthesize"]) == {"data/dataset": f"{MD5}.dir"}


def test_a_listing_of_dvc_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    listing = json.dumps([{"relpath": "../../x", "md5": MD5}]).encode()
    name = hashlib.md5(listing, usedforsecurity=False).hexdigest()
    write_bytes(tmp_path / DVC_CACHE / name[:2] / f"{name[2:]}.dir", listing)
    lock(tmp_path, "data", f"{name}.dir")
    with pytest.raises(ProjectError):
        published_files(tmp_path)

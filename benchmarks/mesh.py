"""Mesh rasterization speed: triangle ids of a 5k-vertex head against embreex's ray casting, one core, one run.

    python benchmarks/mesh.py [--json] [--out benchmarks/results/mesh.json]

embreex is a development-only package; without it the ratio is null. Process CPU time, minimum of several runs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, best_ms, finish, machine_record, write
from headforge.geometry.cameras import orbit_camera, project
from headforge.render.mesh import nearest_face_ids, rasterize
from headforge.types import Camera
from tests.heads import tiny_head

SIZES_PX = (256, 512, 1024)
FOCAL_PER_WIDTH = 3.2
"""With the camera at 1 m, the 0.23 m head fills three quarters of the frame's height."""


def embree_ids(vertices: Tensor, faces: Tensor, camera: Camera) -> Callable[[], np.ndarray] | None:
    """Return a function that casts one ray per pixel with embreex, or None without embreex. Building is not timed."""
    try:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh
    except ImportError:
        return None
    scene = rtcore_scene.EmbreeScene()  # type: ignore[attr-defined]
    TriangleMesh(scene, np.ascontiguousarray(vertices[faces].numpy(), dtype=np.float32))
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3)
    rotation = camera.viewmat[0, :3, :3].numpy()
    directions = (pixels @ np.linalg.inv(camera.K[0].numpy()).T @ rotation).astype(np.float32)
    origins = np.broadcast_to(camera.centre[0].numpy(), directions.shape).astype(np.float32).copy()
    return lambda: scene.run(origins, directions).reshape(camera.height, camera.width)


def measure(size: int) -> dict[str, float | int | None]:
    """Measure one row of the table."""
    head = tiny_head(52, 98)
    camera = orbit_camera(torch.tensor([25.0]), torch.tensor([5.0]), distance_m=1.0, focal_px=FOCAL_PER_WIDTH * size,
                          width=size, height=size)  # fmt: skip
    vertices = head.v_template[None]

    def ids() -> Tensor:
        xy, depth = project(camera, vertices)
        return nearest_face_ids(xy, 1 / depth, head.faces, size, size)

    embree = embree_ids(head.v_template, head.faces, camera)
    ids_ms, embree_ms = best_ms(ids), best_ms(embree) if embree else math.nan
    row: dict[str, float | int | None] = {
        "size_px": size,
        "n_vertices": len(head.v_template),
        "ids_ms": ids_ms,
        "ids_barycentrics_depth_ms": best_ms(lambda: rasterize(vertices, head.faces, camera)),
        "embreex_ms": embree_ms if embree else None,
    }
    if embree:
        row["agreement"] = float((torch.from_numpy(embree().astype(np.int64)) == ids()[0]).float().mean())
        row["ratio"] = embree_ms / ids_ms
    return row


def main() -> None:
    """Run the table."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    rows = [measure(size) for size in SIZES_PX]
    for row in rows:
        write("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    at_512 = next(row for row in rows if row["size_px"] == 512)
    result = {"ids_512_ms": at_512["ids_ms"], "embreex_512_ms": at_512["embreex_ms"],
              "embreex_ratio_512": at_512.get("ratio"), **machine_record(seeds=[]),
              "clock": "process CPU time, minimum of several", "rows": rows}  # fmt: skip
    finish(result, options)


if __name__ == "__main__":
    main()

"""Open a dataset and show some of its people from several sides."""

import sys
from pathlib import Path

import headforge as hf

data = Path(*sys.argv[1:], "data")
dataset = hf.open_dataset(data / "synthetic")
sample = dataset[0]
print(f"{len(dataset)} views of {len(dataset.subject_ids())} people, {sample.camera.width} px; the first one:")
print(f"yaw {sample.yaw_deg:.0f} deg, jaw {sample.params.jaw.tolist()} rad, {dict(sample.attributes)}")
people = [dataset.samples(name)[:8] for name in dataset.subject_ids("train")[:4]]
hf.show([view.image for views in people for view in views], "dataset.png")

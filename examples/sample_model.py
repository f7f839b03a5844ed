"""Sample the trained model for a photo: the person from other sides, then with the mouth open."""

import sys
from pathlib import Path

import headforge as hf

data = Path(*sys.argv[1:], "data")
model = hf.load_model(data / "models", device="cpu")
track = hf.track_photo("builtin:astronaut", head=model.head)
yaws = [-45, -30, -15, 0, 15, 30, 45]
turned = model.sample(track, yaw_deg=yaws)
speaking = model.sample(track, yaw_deg=yaws, params=hf.pose_params(model.head, track.params, jaw_open_deg=15))
hf.show([track.photo, *turned, track.photo, *speaking], "samples.png", size=160)

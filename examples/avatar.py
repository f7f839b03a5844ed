"""Load an avatar, pose it, render it from several sides and export it for splat viewers."""

import sys
from pathlib import Path

import headforge as hf

data = Path(*sys.argv[1:], "data")
avatar = hf.load_avatar(data / "avatars" / "astronaut", device="cpu")
happy = avatar.pose(expression={"smile": 1.2}, jaw_open_deg=6)
aside = avatar.pose(expression={"brow_up": 1.0}, gaze_yaw_deg=20, neck_yaw_deg=-15)
views = [(avatar, 0), (happy, -25), (happy, 25), (aside, 0)]
hf.show([person.render(hf.orbit_camera(yaw, 5)) for person, yaw in views], "avatar.png")
happy.export("avatar.ply")

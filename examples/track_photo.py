"""Track a photo: the head model's parameters, the camera, and the person cut out."""

import sys

import headforge as hf

photo = sys.argv[1] if len(sys.argv) > 1 else "builtin:astronaut"
track = hf.track_photo(photo)
print(f"jaw {track.params.jaw.tolist()} rad, landmarks within {track.found.track.residual_px:.1f} px")
head = hf.load_head("builtin")
mesh = hf.render_head(head, track.params, track.camera)
hf.show([track.image, track.overlay, mesh, track.photo], "track.png", labels=["photo", "fit", "head model", "matte"])

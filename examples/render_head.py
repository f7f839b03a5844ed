"""Load a head model and render it in several expressions."""

import headforge as hf

head = hf.load_head("builtin")
print(f"{head.n_vertices} vertices, {head.n_shape} shape and {head.n_expr} expression components")
smile = hf.pose_params(head, expression={"smile": 1.2, "squint": 0.4})
talk = hf.pose_params(head, expression={"brow_up": 1.0}, jaw_open_deg=14)
look = hf.pose_params(head, expression={"mouth_pucker": 1.0}, gaze_yaw_deg=20)
views = [(head.neutral(), -30), (smile, 0), (talk, 25), (look, -20)]
hf.show([hf.render_head(head, params, hf.orbit_camera(yaw, 5)) for params, yaw in views], "head.png")

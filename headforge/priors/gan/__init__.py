"""SphereHead and PanoHead: head generators with the published architectures that load the official weights."""

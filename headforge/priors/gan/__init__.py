"""SphereHead and PanoHead: generators of heads, after the published architectures, that load the official weights."""

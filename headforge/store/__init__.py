"""Files: content-addressed objects, Parquet shards, images, video."""

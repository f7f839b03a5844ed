"""A dataset on disk: Parquet shards, tables beside them and the loader."""

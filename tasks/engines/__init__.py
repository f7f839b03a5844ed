"""Where items run: processes of this machine, Dask or Slurm."""

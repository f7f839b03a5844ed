"""Gaussian splatting: the PyTorch twin, the fast CPU path and gsplat."""

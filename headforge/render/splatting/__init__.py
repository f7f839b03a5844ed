"""Gaussian splatting: the PyTorch reference, the fast CPU backend and gsplat."""

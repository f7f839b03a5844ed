"""Datasets in other programs' formats: WebDataset, Hugging Face, EG3D, nerfstudio; and back from the last two."""

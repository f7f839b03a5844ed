"""The control field, the guider, the denoiser and its latents."""

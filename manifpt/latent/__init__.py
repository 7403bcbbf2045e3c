"""Latent fingerprints (Nie et al., ICML 2023): write a key into the latent code, read it back from the image."""

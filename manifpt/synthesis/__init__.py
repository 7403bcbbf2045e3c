"""Model Synthesis (Yang et al., TMM 2025): a fingerprint extractor trained on synthetic models alone."""

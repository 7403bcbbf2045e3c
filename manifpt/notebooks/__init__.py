"""Notebooks run as a batch, with checked parameters."""

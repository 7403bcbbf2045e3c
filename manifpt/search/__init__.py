"""Exact nearest points, made fast."""

"""Folders of a user's own images: surveyed, traced to models, reported."""

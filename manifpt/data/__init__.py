"""Images in: real sets, photographs, files."""

"""The command line, ``manifpt …``: one module for each group of commands."""

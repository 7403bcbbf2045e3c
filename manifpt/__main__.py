"""``python -m manifpt`` is ``manifpt``."""

from manifpt.cli.app import main

main()

"""The cache of computed arrays: kept between calls, cleaned of what a killed process left."""

import os
import signal
import subprocess
import sys

from manifpt.utils import cache, paths

KILLED_WHILE_WRITING = """
import os, signal
from manifpt.utils import cache
class Fatal:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)
def result(n):
    return ["begun"] * 1000, Fatal()
cache.memory().cache(result)(1)
"""


def stored():
    return sorted(path for path in paths.cache().rglob("*") if path.is_file())


def test_what_a_killed_process_was_writing_is_removed_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    cache.memory().cache(str.upper)("kept")
    before = stored()
    code = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING], check=False).returncode
    assert code == -signal.SIGKILL
    (half,) = [path for path in stored() if "output.pkl." in path.name]
    living = half.with_name(f"output.pkl.{'0' * 32}-{os.getpid()}-1")
    living.write_text("in work")
    cache.memory()
    assert not half.exists()
    assert living.read_text() == "in work"
    assert set(before) <= set(stored())

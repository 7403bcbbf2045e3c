"""What every test shares: a home of its own, and the real images of the offline sets, read once."""

import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory):
    """A temporary MANIFPT_HOME for the session: nothing of the user's is read or written, patches are cut once."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANIFPT_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def one_thread():
    """One thread of torch, so that sums come in one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def reals():
    """Images of a set by split: ``reals(name)`` gives ``{split: uint8 (n, c, 32, 32)}``, read once a session."""
    from manifpt.data.real import SPLITS, load_real

    known = {}

    def read(name):
        if name not in known:
            known[name] = {split: load_real(name, split=split) for split in SPLITS}
        return known[name]

    return read


@pytest.fixture
def noise():
    """Seeded random images: ``noise(n, c=1, size=32, seed=0)`` gives uint8 (n, c, size, size)."""

    def draw(n, c=1, size=32, seed=0):
        return np.random.default_rng(seed).integers(0, 256, (n, c, size, size), dtype=np.uint8)

    return draw

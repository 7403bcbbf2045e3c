"""One function makes every key, which changes with settings, data, weights and code, and with nothing else."""

import numpy as np
import pytest

from manifpt.utils import cache, paths
from manifpt.utils.cache import array_checksum, cache_key, code_checksum, stored

SOURCES = {
    "cut": 'from manifpt.rule import MARGIN\n\ndef cut(x):\n    """Cut."""\n    return x[MARGIN:]\n',
    "rule": "MARGIN = 3\n",
    "other": "def other():\n    return 1\n",
}


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Write the modules of another package; call with other texts to change them."""
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)

    def write(**changed):
        for name, text in (SOURCES | changed).items():
            (tmp_path / f"{name}.py").write_text(text)
        code_checksum.cache_clear()

    write()
    yield write
    code_checksum.cache_clear()


def key(**changed):
    given = {"settings": {"size": 32, "rule": "crop"}, "code": "manifpt.cut", "data": [np.arange(6)]}
    return cache_key(**given | changed)


def test_key_changes_with_settings_and_data(sources):
    different = [
        key(),
        key(settings={"size": 64, "rule": "crop"}),
        key(settings={"size": 32}),
        key(data=[np.arange(7)]),
        key(data=[np.arange(6), np.arange(6)]),
        key(data=[np.arange(6).reshape(2, 3)]),
        key(data=[np.arange(6, dtype=np.int32)]),
        key(data=[array_checksum(np.arange(6)[::-1])]),
        key(code="manifpt.other"),
    ]
    assert len(set(different)) == len(different)
    assert all(len(one) == 24 for one in different)
    same = [key(settings={"rule": "crop", "size": 32}), key(data=[np.arange(12)[::2] // 2])]
    assert {key(), *same, key(data=[array_checksum(np.arange(6))])} == {key()}


def test_key_changes_with_the_contents_of_the_weights(sources, tmp_path):
    weights, copy = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    weights.write_bytes(b"first")
    copy.write_bytes(b"first")
    before = key(weights=[weights])
    assert key() != before == key(weights=[copy])
    weights.write_bytes(b"again")
    assert key(weights=[weights]) != before


def test_key_changes_with_the_code_of_an_imported_module_and_not_with_its_sentences(sources):
    before = key()
    sources(rule="MARGIN = 4\n")
    assert key() != before
    sources(cut=SOURCES["cut"].replace("x[MARGIN:]", "x[:MARGIN]"))
    assert key() != before
    sources(rule='"""A margin."""\n\nMARGIN = (3)  # pixels\n', cut=SOURCES["cut"].replace("Cut.", "Cut x."))
    assert key() == before
    sources(other="def other():\n    return 2\n")
    assert key() == before


def test_stored_computes_once_and_anew_what_is_damaged_or_gone():
    made = []

    def make():
        made.append(1)
        return np.arange(5)

    path = paths.cache() / "test" / "key.npy"
    for damage in (lambda: None, path.unlink, lambda: path.write_bytes(b""), lambda: path.write_bytes(b"no array")):
        for _ in range(2):
            assert (stored("test", "key", make) == np.arange(5)).all()
        damage()
    assert len(made) == 4 - 1


def test_a_stored_pickle_is_never_read(tmp_path):
    path = paths.cache() / "test" / "pickle.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([{}], object))
    assert stored("test", "pickle", lambda: np.zeros(2)).tolist() == [0, 0]


def test_checksum_of_a_mapped_array_is_that_of_its_values(tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 7))
    np.save(tmp_path / "rows.npy", rows)
    assert cache.array_checksum(np.load(tmp_path / "rows.npy", mmap_mode="r")) == array_checksum(rows)

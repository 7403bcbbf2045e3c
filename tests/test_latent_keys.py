"""Keys from what a user types, and the registry that keeps them apart."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from manifpt.latent.keys import NOT_OURS, Registry, parse_key, random_keys, show_key
from manifpt.utils.errors import InputError


@pytest.fixture
def registry(tmp_path):
    return Registry.create(tmp_path / "users.json", {"key_length": 8}, min_distance=3)


def test_bits_hex_and_text_give_keys():
    bits = np.array([1, 0, 1, 0, 0, 0, 1, 1], np.uint8)
    for key in (bits, bits.tolist(), bits.astype(bool), "0b10100011", "0xa3", "0xA3", show_key(bits)):
        assert (parse_key(key, 8) == bits).all()
    assert show_key(parse_key("0x0", 4)) == "0b0000"
    assert show_key(parse_key("ada", 10)) == "0b1100110101"  # of SHAKE-256("ada"), which begins with cd 79
    assert (parse_key("ada", 1000)[:10] == parse_key("ada", 10)).all()
    assert parse_key("ada", 1000).mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    "key", ["", "0b101", "0b10100012", "0xa", "0xg0", "0xa30", [0, 1], [0, 1, 2, 0, 0, 0, 0, 0], 0.5]
)
def test_malformed_keys_are_named(key):
    with pytest.raises(InputError, match=r"^key.*expected"):
        parse_key(key, 8)


def test_hexadecimal_digits_need_a_length_of_fours():
    with pytest.raises(InputError, match="10 bits expected"):
        parse_key("0xa3", 10)


def test_users_are_written_and_read_again(registry):
    key = registry.add("ada", "0xa3")
    drawn = registry.add("bob", seed=1)
    again = Registry(registry.path)
    assert list(again.users) == ["ada", "bob"]
    assert (again.users["ada"] == key).all()
    assert (again.users["bob"] == drawn).all()
    assert again.settings == {"key_length": 8}
    assert again.min_distance == 3
    assert (again.distances(np.stack([key, 1 - key]))[:, 0] == [0, 8]).all()


def test_two_that_write_do_not_lose_a_user(registry):
    other = Registry(registry.path)
    registry.add("ada", "0x00")
    other.add("bob", "0xff")
    assert list(Registry(registry.path).users) == list(other.users) == ["ada", "bob"]


def test_near_keys_and_taken_names_are_refused_and_nothing_is_written(registry):
    registry.add("ada", "0b00000000")
    before = registry.path.read_bytes()
    with pytest.raises(InputError, match="key of 'bob': 2 bits from that of 'ada'; at least 3 expected"):
        registry.add("bob", "0b00000011")
    for name, why in (("ada", "registered already"), ("", "one line"), ("a\nb", "one line"), (NOT_OURS, "other than")):
        with pytest.raises(InputError, match=f"^user .*{why}"):
            registry.add(name, "0b11111111")
    assert registry.path.read_bytes() == before
    registry.add("bob", "0b00000111")


def test_random_keys_keep_the_distance_until_there_is_no_room(registry):
    def fill():
        for number in range(100):
            registry.add(str(number), seed=number)

    with pytest.raises(InputError, match="no room found"):
        fill()
    keys = np.array(list(registry.users.values()))
    distances = registry.distances(keys) + 8 * np.eye(len(keys), dtype=int)
    assert distances.min() == 3
    assert 4 <= len(keys) <= 20  # no code of 8 bits and distance 3 has more than 20 words


def test_files_that_are_no_registry_are_refused(tmp_path, registry):
    with pytest.raises(InputError, match=r"none\.json: no such file; register a first user"):
        Registry(tmp_path / "none.json")
    content = {"format": 2, "settings": {"key_length": 4}, "min_distance": 2}
    content |= {"users": {"ada": "0b0000", "bob": "0b0001"}}
    for broken in ("{", "[]", '{"format": 2, "settings": {}}', json.dumps(content)):
        (tmp_path / "broken.json").write_text(broken)
        with pytest.raises(InputError, match=r"broken\.json: not a registry"):
            Registry(tmp_path / "broken.json")
    with pytest.raises(InputError, match="exists"):
        Registry.create(registry.path, {"key_length": 8})
    assert Registry.create(registry.path, {"key_length": 16}, exist_ok=True).settings == {"key_length": 8}
    for settings, distance, what in (({}, 1, "key_length"), ({"key_length": 8}, 9, "min_distance")):
        with pytest.raises(InputError, match=f"^{what}"):
            Registry.create(tmp_path / "new.json", settings, min_distance=distance)
    assert Registry.create(tmp_path / "new.json", {"key_length": 64}).min_distance == 16


def test_registries_of_other_versions_are_refused_by_name(tmp_path):
    content = {"settings": {"key_length": 4}, "min_distance": 2, "users": {}}
    for found in (1, 3):
        (tmp_path / "other.json").write_text(json.dumps(content | ({"format": found} if found > 1 else {})))
        with pytest.raises(InputError, match=rf"other\.json: a registry of format {found}, this version reads .* 2"):
            Registry(tmp_path / "other.json")


@pytest.mark.parametrize(("before", "after"), [(0o400, 0o400), (0o600, 0o600), (0o644, 0o600)])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_registry_is_its_owners_alone(tmp_path, before, after, umask):
    path, old = tmp_path / "users.json", os.umask(umask)
    try:
        registry = Registry.create(path, {"key_length": 8})
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(before)
        registry.add("ada")
        assert path.stat().st_mode & 0o777 == after
    finally:
        os.umask(old)


def test_a_link_to_a_registry_does_not_fork_it(registry, tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(registry.path)
    Registry(link).add("ada", "0x00")
    registry.add("bob", "0xff")
    assert link.is_symlink()
    assert list(Registry(link).users) == list(Registry(registry.path).users) == ["ada", "bob"]


def test_a_byte_order_mark_is_read(registry):
    registry.add("ada", "0x00")
    registry.path.write_bytes(b"\xef\xbb\xbf" + registry.path.read_bytes())
    assert list(Registry(registry.path).users) == ["ada"]


ADD = """
import sys
from manifpt.latent.keys import Registry
for number in range(25):
    Registry(sys.argv[1]).add(f"{sys.argv[2]} {number}")
"""


def test_two_homes_that_write_lose_no_user(tmp_path):
    path = Registry.create(tmp_path / "users.json", {"key_length": 64}).path
    homes = [tmp_path / "one", tmp_path / "two"]
    command = [sys.executable, "-c", ADD, path]
    running = [subprocess.Popen([*command, home.name], env=os.environ | {"MANIFPT_HOME": str(home)}) for home in homes]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert len(Registry(path).users) == 50


def test_random_keys_are_fair():
    keys = random_keys(2000, 16, np.random.default_rng(0))
    assert (keys.dtype, keys.shape) == (np.uint8, (2000, 16))
    assert abs(keys.mean(0) - 0.5).max() < 0.05

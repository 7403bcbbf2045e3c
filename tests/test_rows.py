"""Rows of committed tables, computed anew; ``python tests/rows.py`` does so for every table."""

import pytest
import rows


@pytest.mark.parametrize("table", rows.FAST)
def test_a_row_computed_anew_is_the_committed_one(table, one_thread):
    computed = rows.CASES[table].compute()
    assert rows.difference(table, computed) <= rows.CASES[table].tolerance
    off = computed.assign(value=computed["value"] + 0.1)
    assert rows.difference(table, off) > rows.CASES[table].tolerance
    with pytest.raises(AssertionError, match="not committed"):
        rows.difference(table, computed.assign(method="nobody"))

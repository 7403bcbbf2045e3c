"""Figures: every name is there, and lines and fields stand at the values that they are given."""

import numpy as np
import pandas as pd
import pytest

from manifpt import plotting


@pytest.fixture
def frame():
    """Tidy rows of two methods with two seeds at two sizes."""
    rows = [
        (method, size, seed, "accuracy", base + size / 1000 + seed / 100)
        for method, base in (("control-raw", 0.6), ("manifpt-rgb-nearest", 0.2))
        for size in (100, 300)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["method", "n_per_class", "seed", "metric", "value"])


def test_every_name_is_there():
    assert all(hasattr(plotting, name) for name in plotting.__all__)


def test_learning_curves_draw_means_over_seeds_in_the_order_of_the_inputs(frame):
    figure = plotting.learning_curves(frame, chance=0.1)
    (ax,) = figure.axes
    drawn = [np.round(np.asarray(line.get_ydata(), float), 3).tolist() for line in ax.lines]
    assert [0.305, 0.505] in drawn
    assert [0.705, 0.905] in drawn
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "artifact, nearest (the paper's)",
        "control: the image itself",
    ]


def test_accuracies_have_a_row_a_method_by_its_published_name(frame):
    (ax,) = plotting.accuracies(frame).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["control-raw", "ManiFPT RGB"]
    assert ax.yaxis_inverted()


def test_confusion_shows_shares_of_each_row():
    truth, named = np.array(["a", "a", "b", "b"]), np.array(["a", "b", "b", "b"])
    ax = plotting.confusion(truth, named, ["a", "b"]).axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.50", "0.00", "1.00"]


def test_a_png_is_a_file_of_a_closed_figure():
    figure = plotting.matrix(pd.DataFrame([[1.0]]), label="x")
    assert plotting.png(figure).startswith(b"\x89PNG")
    assert not plotting.common.plt.fignum_exists(figure.number)

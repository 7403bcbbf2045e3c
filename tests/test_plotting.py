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


def test_frequency_planes_put_frequency_zero_in_the_middle_of_the_left_edge():
    luminance = np.zeros((16, 9))
    luminance[0, 0], luminance[15, 8] = 1, 2  # no frequency; one step up, finest to the right
    figure = plotting.frequency_planes({"a": np.concatenate([luminance.ravel(), np.ones(288)])}, label="x")
    plane = figure.axes[0].images[0].get_array()
    assert plane.shape == (16, 9)
    assert (plane[8, 0], plane[7, 8]) == (1, 2)


def test_likelihood_ratios_beyond_the_limits_are_counted_in_the_last_bars():
    (ax,) = plotting.likelihood_ratios({"a": np.array([-99.0, 0.1, 0.1, 99.0])}, xlabel="x", limit=12).axes
    heights = [bar.get_height() for bar in ax.patches]
    assert (heights[0], heights[-1], sum(heights)) == (0.25, 0.25, 1)


def test_calibration_shows_the_share_of_one_maker_where_a_probability_is_said():
    ratios, same = np.array([-5.0, -5.0, 5.0, 5.0]), np.array([False, True, True, True])
    left = plotting.calibration({"a": ratios}, {"a": same}).axes[0]
    assert left.lines[0].get_ydata().tolist() == [0.5, 1]


def test_tasks_have_a_panel_each_and_a_row_a_dataset():
    rows = [("d1", "identification", "psd-plda", 10, "accuracy", 0.5), ("d2", "open set", "psd", 10, "auroc", 0.7)]
    table = pd.DataFrame(rows, columns=["dataset", "task", "method", "n_per_class", "metric", "value"])
    asked = {"named": ("identification", 10, "accuracy"), "unknown": ("open set", 10, "auroc")}
    named, unknown = plotting.tasks(table, asked, order=["d1", "d2"]).axes
    assert named.lines[0].get_xdata()[0] == 50
    assert unknown.lines[0].get_xdata()[1] == 70
    assert [label.get_text() for label in named.get_yticklabels()] == ["d1", "d2"]


def test_ablation_has_the_best_task_first():
    rows = [("d", task, seed, "accuracy", value) for task, value in (("a", 0.2), ("b", 0.6)) for seed in (0, 1)]
    (ax,) = plotting.ablation(pd.DataFrame(rows, columns=["dataset", "task", "seed", "metric", "value"])).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]


def test_a_png_is_a_file_of_a_closed_figure():
    figure = plotting.matrix(pd.DataFrame([[1.0]]), label="x")
    assert plotting.png(figure).startswith(b"\x89PNG")
    assert not plotting.common.plt.fignum_exists(figure.number)

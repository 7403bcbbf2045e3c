"""The browser of images: menu and slider turn the page, and there is a picture where no kernel runs."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from manifpt import plotting
from manifpt.manifold import Manifold
from manifpt.notebooks import run
from manifpt.notebooks.execute import WIDGET
from manifpt.plotting.browser import Browser
from manifpt.utils.errors import InputError

NOTEBOOK = """
import numpy as np
from manifpt.plotting.browser import Browser
from manifpt.manifold import Manifold
images = np.random.default_rng(0).integers(0, 256, (9, 1, 8, 8), np.uint8)
Browser({"a": images}, Manifold().fit(images))
"""


@pytest.fixture
def browser(noise):
    """Of the classes ``a``, 5 images, and ``b``, 2."""
    return Browser({"a": noise(5, size=16, seed=1), "b": noise(2, size=16, seed=2)}, Manifold().fit(noise(9, size=16)))


def test_menu_and_slider_turn_the_page(browser):
    seen = [browser.picture.value]
    browser.number.value = 4
    seen.append(browser.picture.value)
    browser.label.value = "b"
    seen.append(browser.picture.value)
    assert (browser.number.max, browser.number.value) == (1, 1)
    assert len(set(seen)) == 3
    browser.label.value, browser.number.value = "a", 0
    assert browser.picture.value == seen[0]


def test_what_a_cell_keeps_is_alive_and_has_a_picture_of_the_page(browser):
    bundle = browser._repr_mimebundle_()
    assert WIDGET in bundle
    assert base64.b64decode(bundle["image/png"]) == browser.picture.value
    assert Image.open(io.BytesIO(browser.picture.value)).format == "PNG"
    assert bundle["text/plain"] == "images of a, b"


def test_views_draw_what_they_are_given(noise):
    """Image, projection, mean artifact between symmetric limits, and the spectrum of a wave at its frequency."""
    image = noise(1, c=3, size=16)[0]
    wave = np.broadcast_to(np.cos(2 * np.pi * 4 * np.arange(16) / 16), (3, 16, 16)).astype(np.float32) / 4
    figure = plotting.views(image, image / np.float32(255) - wave, wave)
    panels = [ax.images[0] for ax in figure.axes if ax.get_title()]
    assert np.allclose(panels[0].get_array(), np.moveaxis(image, 0, -1) / 255)
    assert panels[2].get_clim() == (-0.25, 0.25)
    row, column = np.unravel_index(panels[3].get_array().argmax(), (16, 16))
    assert (row, abs(column - 8)) == (8, 4)


def test_wrong_classes_and_spaces_are_refused(noise):
    with pytest.raises(InputError, match="classes: empty"):
        Browser({}, Manifold().fit(noise(3)))
    with pytest.raises(InputError, match="in space 'freq', whose points are no images"):
        Browser({"a": noise(1)}, Manifold("freq").fit(noise(3)))


def test_an_executed_notebook_keeps_the_picture_and_no_dead_widget(tmp_path, monkeypatch):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "home"))
    (tmp_path / "params").mkdir()
    (tmp_path / "params/smoke.yaml").write_text("")
    parameters = new_code_cell("seed: int = 0  # of nothing", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[parameters, new_code_cell(NOTEBOOK)]), tmp_path / "00.ipynb")
    (record,) = run.run(run.plan(tmp_path, in_place=True))
    assert record.ok, record.error
    book = nbformat.read(tmp_path / "00.ipynb", as_version=4)
    (output,) = book.cells[1].outputs
    assert set(output["data"]) == {"image/png", "text/plain"}
    assert "widgets" not in book.metadata

"""Leaf through images with a menu and a slider, each beside its projection, artifact and spectrum; for notebooks.

What a cell keeps is the widget *and* a picture of its first view: with a kernel the first is alive, without one, and in
a notebook that `manifpt reproduce` has run, the second is read.
"""

import base64
import io
from collections.abc import Mapping

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np

from manifpt import plotting
from manifpt.manifold import Manifold
from manifpt.utils.errors import InputError


class Browser:
    """A menu of classes, a slider over the images of the chosen one, and `plotting.views` of the image.

    Parameters
    ----------
    classes
        Class to uint8 images `(n, c, h, w)`, n from 1 on.
    manifold
        Fitted, in ``rgb``; each image is projected when it is looked at.

    Attributes
    ----------
    label, number
        The menu and the slider; who sets their `value` turns the page.
    picture
        PNG of what is shown.

    Raises
    ------
    InputError
        Without a class, or for a manifold in another space, whose points are no images.
    """

    def __init__(self, classes: Mapping[str, np.ndarray], manifold: Manifold):
        if not classes:
            raise InputError("classes: empty; one class at least expected")
        if manifold.space != "rgb":
            raise InputError(f"manifold: in space {manifold.space!r}, whose points are no images; 'rgb' expected")
        self.classes, self.manifold = classes, manifold
        self.label = ipywidgets.Dropdown(options=list(classes), description="class")
        self.number = ipywidgets.IntSlider(description="image", max=len(classes[self.label.value]) - 1)
        self.picture = ipywidgets.Image(format="png")
        self.label.observe(self._other_class, "value")
        self.number.observe(self._draw, "value")
        self._draw()

    def _repr_mimebundle_(self, **_) -> dict:
        widget = ipywidgets.VBox([ipywidgets.HBox([self.label, self.number]), self.picture])
        picture = base64.b64encode(self.picture.value).decode()
        text = f"images of {', '.join(self.classes)}"
        return widget._repr_mimebundle_() | {"image/png": picture, "text/plain": text}

    def _other_class(self, _) -> None:
        self.number.max = len(self.classes[self.label.value]) - 1
        self._draw()

    def _draw(self, _=None) -> None:
        images = self.classes[self.label.value][self.number.value][None]
        found = self.manifold.project(images)
        figure = plotting.views(images[0], found.target[0], found.artifact[0])
        figure.suptitle(f"{self.label.value}, image {self.number.value}")
        content = io.BytesIO()
        figure.savefig(content, format="png")
        plt.close(figure)
        self.picture.value = content.getvalue()

"""A browser of images for notebooks: a menu and a slider choose the image that `manifpt.plotting.views` shows.

The output of a cell holds the widget, which needs a kernel, and a picture of its first view for readers without one.
"""

import base64
from collections.abc import Mapping

import ipywidgets
import numpy as np

from manifpt import plotting
from manifpt.manifold import Manifold
from manifpt.utils.errors import InputError


class Browser:
    """A menu of classes, a slider over the images of the class, and the views of the image.

    `InputError` for no class, or a manifold in another space, whose points are no images.

    Parameters
    ----------
    classes
        Class to uint8 images `(n, c, h, w)`, at least one each.
    manifold
        Fitted, in ``rgb``; an image is projected when it is chosen.

    Attributes
    ----------
    label, number, picture
        The menu and the slider, whose `value` chooses the image; the views of the image, a PNG.
    """

    def __init__(self, classes: Mapping[str, np.ndarray], manifold: Manifold):
        if not classes:
            raise InputError("classes: empty; one class at least expected")
        if manifold.space != "rgb":
            raise InputError(f"manifold: in space {manifold.space!r}, whose points are no images; 'rgb' expected")
        self.classes, self.manifold = classes, manifold
        self.label = ipywidgets.Dropdown(options=list(classes), description="class")
        self.number = ipywidgets.IntSlider(description="image")
        self.picture = ipywidgets.Image(format="png")
        self.label.observe(self._draw, "value")
        self.number.observe(self._draw, "value")
        self._draw()

    def _repr_mimebundle_(self, **_) -> dict:
        widget = ipywidgets.VBox([ipywidgets.HBox([self.label, self.number]), self.picture])
        picture = base64.b64encode(self.picture.value).decode()
        text = f"images of {', '.join(self.classes)}"
        return widget._repr_mimebundle_() | {"image/png": picture, "text/plain": text}

    def _draw(self, _=None) -> None:
        images = self.classes[self.label.value]
        self.number.max = len(images) - 1
        image = images[self.number.value]
        found = self.manifold.project(image[None])
        figure = plotting.views(image, found.target[0], found.artifact[0])
        figure.suptitle(f"{self.label.value}, image {self.number.value}")
        self.picture.value = plotting.png(figure)

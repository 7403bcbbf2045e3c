"""What a training on folders came to, as one HTML file that needs no other: figures are inside it."""

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jinja2 import Environment
from matplotlib.figure import Figure

from manifpt import plotting

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Which model made this image?</title>
<style>body {font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em} img {max-width: 100%}
td, th {padding: .2em 1em .2em 0; text-align: left} .warning {border-left: .3em solid #c60; padding-left: 1em}</style>
</head><body>
<h1>Which model made this image?</h1>
<p>{{ n }} test images of {{ classes }} classes; a guess is right in {{ "%.0f" | format(100 / classes) }} of 100.
Images: {% for name, value in rule.items() %}{{ name }} {{ value }}{{ ", " if not loop.last else "." }}{% endfor %}</p>
<h2>Warnings</h2>
{% for line in warnings %}<p class="warning">{{ line }}</p>{% else %}<p>None.</p>{% endfor %}
<h2>Accuracy</h2>
{{ table | safe }}
<p>Where the control is as good, the artifact adds nothing.</p>
{% for title, source in figures.items() %}<h2>{{ title }}</h2><img alt="{{ title }}" src="{{ source }}">
{% endfor %}</body></html>
"""


def html(
    *,
    warnings: Sequence[str],
    rule: Mapping[str, object],
    curve: pd.DataFrame,
    truth: np.ndarray,
    named: np.ndarray,
    mean: Mapping[str, np.ndarray],
    images: Mapping[str, np.ndarray],
) -> str:
    """The report.

    Parameters
    ----------
    warnings, rule
        Lines to be read first, and how pictures became images.
    curve
        Columns input, n (training images), accuracy; the control is the input that begins with that word.
    truth, named
        Label of each test image, and the one it was given: `(n,)`.
    mean
        Class to its mean artifact: `(c, h, w)`, drawn as it is, or `(d,)`, drawn by its cosine with the others'.
    images
        Class to test images, uint8 `(m, c, h, w)`, for the spectra; one class is ``real``.
    """
    plotting.style()
    classes = list(mean)
    figures = {
        "Confusion matrix": plotting.confusion(truth, named, classes),
        "Learning curve": _curve(curve, 1 / len(classes)),
        "Mean log spectrum minus that of real images": plotting.spectra(images, columns=min(6, len(images) - 1)),
    }
    if all(artifact.ndim == 3 for artifact in mean.values()):
        stacked = {"mean artifact": np.stack([*mean.values()])}
        figures["Mean artifacts"] = plotting.strips(stacked, groups=classes, signed=[*stacked], scale=1.2)
    else:
        figures["Mean artifacts: cosine of each with each other"] = plotting.cosines(mean)
    return (
        Environment(autoescape=True)
        .from_string(PAGE)
        .render(
            warnings=warnings,
            rule=rule,
            n=len(truth),
            classes=len(classes),
            table=curve.to_html(index=False, border=0, float_format="%.3f"),
            figures={title: _embedded(figure) for title, figure in figures.items()},
        )
    )


def _curve(frame: pd.DataFrame, chance: float) -> Figure:
    figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    sns.lineplot(frame, x="n", y="accuracy", hue="input", style="input", markers=True, ax=ax)
    ax.axhline(chance, color="0.5", linewidth=1)
    ax.set(xlabel="training images", ylabel="test accuracy", ylim=(0, 1.02))
    ax.legend(frameon=False)
    return figure


def _embedded(figure: Figure) -> str:
    """The figure as the source of an ``img``, closed."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()

"""Reports on folders, each as one HTML file that needs no other: figures are embedded in it."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jinja2 import Template

from manifpt import plotting

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>body {font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em} img {max-width: 100%}
td, th {padding: .2em 1em .2em 0; text-align: left} .warning {border-left: .3em solid #c60; padding-left: 1em}</style>
</head><body>
<h1>{{ title }}</h1>
"""
WARNINGS = """<h2>Warnings</h2>
{% for line in warnings %}<p class="warning">{{ line }}</p>{% else %}<p>None.</p>{% endfor %}
"""
TRAINING = (
    HEAD
    + """<p>{{ n }} test images of {{ classes }} classes; by chance, {{ "%.0f" | format(100 / classes) }} of 100 are
right. Images:
{% for name, value in rule.items() %}{{ name }} {{ value }}{{ ", " if not loop.last else "." }}{% endfor %}</p>
"""
    + WARNINGS
    + """<h2>Accuracy</h2>
{{ table | safe }}
{% if control %}<p>If the control is as accurate, the artifact adds nothing.</p>{% endif %}
{% for title, png in figures.items() %}<h2>{{ title }}</h2><img alt="{{ title }}" src="data:image/png;base64,{{ png }}">
{% endfor %}</body></html>
"""
)
ANSWER = (
    HEAD
    + """<ul>{% for name, value in about.items() %}<li>{{ name }}: {{ value }}</li>{% endfor %}</ul>
"""
    + WARNINGS
    + """<h2>Answer</h2>
{{ table | safe }}
<p>{{ meaning }}</p>
</body></html>
"""
)


def report_html(
    *,
    warnings: Sequence[str],
    rule: Mapping[str, object],
    curve: pd.DataFrame,
    truth: np.ndarray,
    named: np.ndarray,
    mean: Mapping[str, np.ndarray],
    images: Mapping[str, np.ndarray],
) -> str:
    """The HTML text of the report.

    Parameters
    ----------
    warnings, rule
        Lines that come first, and the settings by which pictures became images.
    curve
        Columns input, n (training images), accuracy.
    truth, named
        True and predicted label of each test image, `(n,)`.
    mean
        Class to mean artifact: `(c, h, w)` is drawn as an image, `(d,)` as its cosines with those of other classes.
    images
        Class to test images, uint8 `(m, c, h, w)`, for the spectra; one class is ``real``.
    """
    plotting.style()
    classes = list(mean)
    figures = {
        "Confusion matrix": plotting.confusion(truth, named, classes),
        "Learning curve": plotting.errors(curve, x="n", y="accuracy", hue="input", log=False),
        "Mean log spectrum minus that of real images": plotting.spectra(images, columns=min(6, len(images) - 1)),
    }
    figures["Learning curve"].axes[0].axhline(1 / len(classes), color="0.5", linewidth=1)  # chance
    if all(artifact.ndim == 3 for artifact in mean.values()):
        stacked = {"mean artifact": np.stack([*mean.values()])}
        figures["Mean artifacts"] = plotting.strips(stacked, groups=classes, signed=[*stacked], scale=1.2)
    else:
        figures["Mean artifacts: cosine of each with each other"] = plotting.cosines(mean)
    return Template(TRAINING, autoescape=True).render(
        title="Which model made this image?",
        warnings=warnings,
        rule=rule,
        n=len(truth),
        classes=len(classes),
        control=len(set(curve["input"])) > 1,
        table=curve.to_html(index=False, border=0, float_format="%.3f"),
        figures={title: base64.b64encode(plotting.png(figure)).decode() for title, figure in figures.items()},
    )


def answer_html(
    title: str, table: pd.DataFrame, *, about: Mapping[str, str], warnings: Sequence[str], meaning: str
) -> str:
    """The HTML text of a table with what it rests on, warnings, and a sentence on what its numbers mean."""
    shown = table.to_html(index=False, border=0, float_format="%.2f", na_rep="")
    return Template(ANSWER, autoescape=True).render(
        title=title, table=shown, about=about, warnings=warnings, meaning=meaning
    )

"""Every figure of a notebook, a file a subject: functions take arrays or data frames and return the figure."""

import matplotlib.pyplot as plt
import seaborn as sns

from manifpt.plotting.attribution import confusion, learning_curves, training
from manifpt.plotting.definitions import errors, manifolds, plane
from manifpt.plotting.estimation import four_spaces, lengths, strips, verdicts
from manifpt.plotting.synthesis import beside_chance, cosines, lineage, option_spectra, sets
from manifpt.plotting.zoo import contact_sheet, quality, spectra

__all__ = [
    "beside_chance",
    "confusion",
    "contact_sheet",
    "cosines",
    "errors",
    "four_spaces",
    "learning_curves",
    "lengths",
    "lineage",
    "manifolds",
    "option_spectra",
    "plane",
    "quality",
    "sets",
    "spectra",
    "strips",
    "style",
    "training",
    "verdicts",
]


def style() -> None:
    """Set the look that all figures share; called once, by the setup cell."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 85, "axes.spines.top": False, "axes.spines.right": False})

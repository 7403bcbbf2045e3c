"""Every figure of a notebook, a file a subject: functions take arrays or data frames and return the figure."""

import matplotlib.pyplot as plt
import seaborn as sns

from manifpt.plotting.attribution import confusion, learning_curves, training
from manifpt.plotting.definitions import errors, manifolds, plane
from manifpt.plotting.estimation import four_spaces, lengths, strips, verdicts
from manifpt.plotting.latent import attack_bars, front, key_path, rates
from manifpt.plotting.zoo import contact_sheet, quality, spectra

__all__ = [
    "attack_bars",
    "confusion",
    "contact_sheet",
    "errors",
    "four_spaces",
    "front",
    "key_path",
    "learning_curves",
    "lengths",
    "manifolds",
    "plane",
    "quality",
    "rates",
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

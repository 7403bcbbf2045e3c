"""Every figure of a notebook, a file a subject: functions take arrays or data frames and return the figure."""

import matplotlib.pyplot as plt
import seaborn as sns

from manifpt.plotting.attribution import NAMES, confusion, learning_curves, shares, training
from manifpt.plotting.definitions import errors, manifolds, plane
from manifpt.plotting.estimation import four_spaces, lengths, strips, verdicts
from manifpt.plotting.latent import attack_bars, front, key_path, rates
from manifpt.plotting.synthesis import beside_chance, cosines, lineage, option_spectra, sets
from manifpt.plotting.tables import accuracies, bars, clusters, curves, embeddings, gains, matrix, profiles, published
from manifpt.plotting.views import views
from manifpt.plotting.zoo import contact_sheet, quality, spectra

__all__ = [
    "NAMES",
    "accuracies",
    "attack_bars",
    "bars",
    "beside_chance",
    "clusters",
    "confusion",
    "contact_sheet",
    "cosines",
    "curves",
    "embeddings",
    "errors",
    "four_spaces",
    "front",
    "gains",
    "key_path",
    "learning_curves",
    "lengths",
    "lineage",
    "manifolds",
    "matrix",
    "option_spectra",
    "plane",
    "profiles",
    "published",
    "quality",
    "rates",
    "sets",
    "shares",
    "spectra",
    "strips",
    "style",
    "training",
    "verdicts",
    "views",
]


def style() -> None:
    """Set the look that all figures share; called once, by the setup cell."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 85, "axes.spines.top": False, "axes.spines.right": False})

"""The eight methods that ManiFPT is compared with (Table 2), each in its own file, all a `Method`."""

from manifpt.baselines import durall20, dzanic20, marra18, marra19, mccloskey18, nataraj19, wang20, yu19
from manifpt.baselines.base import Method
from manifpt.utils.errors import InputError

BASELINES = {  # in the order of the paper's table
    "mccloskey18": mccloskey18.baseline,
    "nataraj19": nataraj19.baseline,
    "durall20": durall20.baseline,
    "dzanic20": dzanic20.baseline,
    "wang20": wang20.baseline,
    "marra18": marra18.baseline,
    "marra19": marra19.baseline,
    "yu19": yu19.baseline,
}


def build(name: str, *, real: str, seed: int = 0, epochs: int | None = None) -> Method:
    """A baseline by name.

    Parameters
    ----------
    name
        A key of `BASELINES`.
    real
        Name of the real set that the models were trained on.
    seed, epochs
        Of its training, where it has one; epochs None for the full budget.

    Raises
    ------
    InputError
        Unknown name.
    """
    if name not in BASELINES:
        raise InputError(f"baseline {name!r} is unknown; choose one of {', '.join(BASELINES)}")
    return BASELINES[name](real=real, seed=seed, epochs=epochs)

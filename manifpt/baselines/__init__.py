"""The eight methods that ManiFPT is compared with (Table 2), each in its own file, all a `Method`."""

from manifpt.baselines import durall20, dzanic20, marra18, marra19, mccloskey18, nataraj19, wang20, yu19
from manifpt.baselines.base import Method
from manifpt.utils.errors import check_choice

_FILES = (mccloskey18, nataraj19, durall20, dzanic20, wang20, marra18, marra19, yu19)  # as in the paper's table
BASELINES = {file.__name__.rpartition(".")[2]: file.baseline for file in _FILES}


def build(name: str, *, real: str, seed: int = 0, epochs: int | None = None) -> Method:
    """A baseline by its key in `BASELINES`; `InputError` for another name.

    `real` names the real set that the models were trained on; `seed` and `epochs` are those of the method's training,
    if it has any, epochs None for the full budget.
    """
    check_choice("baseline", name, BASELINES)
    return BASELINES[name](real=real, seed=seed, epochs=epochs)

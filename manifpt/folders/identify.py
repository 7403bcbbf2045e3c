"""Who made these images? Identification by a gallery of known makers, and verification of one maker or two.

Pictures are read at their own size, one at a time a thread, and always in colour; what is kept of each is its whitened
power spectrum (`manifpt.synthesis.metric`), so memory hardly grows with their number. The evidence is that of
`manifpt.plda`, in decimal logarithms, as forensic readers know it: 2 says that the images are 100 times likelier if the
maker named made them. Its 90 % interval is a bootstrap: of several images, those are drawn again; of a single one,
parts of it (`manifpt.psd.PowerSpectrum.resample`). Noise in a spectrum only ever takes likelihood away, so the
resampled values are centred on the ratio itself.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt.data import pictures
from manifpt.data.pictures import Picture
from manifpt.data.real import FEWEST
from manifpt.folders.rules import WHOLE_SIZE, Rule, differences
from manifpt.folders.survey import distinct, find_models
from manifpt.plda import PLDA
from manifpt.psd import PowerSpectrum
from manifpt.synthesis import metric as metrics
from manifpt.synthesis.metric import Metric
from manifpt.utils import files
from manifpt.utils.errors import InputError

FEW = 10  # images below which what they have in common is uncertain
NOBODY = "none of these"
QUERY = "query/"  # no maker has this name, as no folder can
RESAMPLES = 100
INTERVAL = (0.05, 0.95)
CROP, CROPS = 128, 1000  # side of the crops of photographs that a metric is learnt from, and most of them


class Answer(NamedTuple):
    """What was found: a table, reasons for doubt, and the metric and numbers of images, name to text."""

    table: pd.DataFrame
    warnings: list[str]
    about: dict[str, str]


def identify(
    gallery: Path | str,
    query: Path | str,
    *,
    real: Path | str | None = None,
    equalise: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Answer:
    """Name the maker of each image of the query, or say that none in the gallery made it.

    `InputError`, before anything is read, for a folder that is not there, holds no image or lies in another, and for
    too few photographs; in its turn, for a file that is not an image or is smaller than 32x32, and for an image that
    two makers, or gallery and query, share.

    Parameters
    ----------
    gallery
        Folder with a sub-folder of images for each known maker: one will do.
    query
        An image, or a folder whose images, also in sub-folders, are asked about.
    real
        Folder of at least 24 photographs that a metric is learnt from; without it, the metric is the one that ships.
    equalise
        Re-encode all pictures as JPEG of one quality first.
    workers
        Number of threads that read.

    Returns
    -------
    Answer whose table has a row an image and, if there are several, a last one, ``(all)``, for all of them as the work
    of one maker: ``file``; ``maker``, the likeliest in the gallery; ``llr``, the calibrated decimal logarithm of how
    much likelier the image is by that maker than by one who is not in the gallery; ``runner_up``, ``runner_up_llr``;
    ``low`` and ``high``, the 90 % interval of ``llr``; ``verdict``, the maker, or "none of these" unless llr > 0.
    """
    known, asked, photographs = find_models(gallery), _files(query), _photographs(real)
    _check_apart(gallery, query, *([real] if real else []))
    paths = [path for some in known.values() for path in some]
    with _bar("identify", len(photographs) + len(paths) + len(asked), progress) as bar:
        reader = _Reader(Rule("whole", WHOLE_SIZE, 3, equalise), workers, bar)
        metric = reader.learn(photographs) if photographs else metrics.shipped()
        makers, copies, artifacts = reader.read(known, metric)
        names = np.repeat(list(makers), [len(some) for some in makers.values()])
        plda = metric.plda().fit(_stack(artifacts, itertools.chain(*makers.values())), names)

        def judge(path: Path) -> tuple[Picture, np.ndarray, dict]:
            picture, vectors = reader.artifacts(path, metric, RESAMPLES)
            return picture, vectors[0], _verdict(plda, vectors)

        found = {picture: rest for picture, *rest in reader.each(judge, asked)}
    classes, more = distinct(makers | {QUERY: list(found)})
    rows = [{"file": _name(picture.path, query)} | found[picture][1] for picture in classes[QUERY]]
    if len(rows) > 1:
        together = _resampled(np.stack([found[picture][0] for picture in classes[QUERY]]))
        rows.append({"file": "(all)"} | _verdict(plda, together, m=len(rows)))
    doubts = _doubts(classes, copies | {QUERY: more[QUERY]})
    about = _about(metric, real, photographs) | {label.strip("/"): _images(some) for label, some in classes.items()}
    return Answer(pd.DataFrame(rows), doubts, about)


def verify(
    a: Path | str,
    b: Path | str,
    *,
    real: Path | str | None = None,
    equalise: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Answer:
    """Say whether two sets of images, each an image or a folder of one maker's, are of one maker.

    Options and errors are those of `identify`. The table has one row: ``a``, ``b``; ``n`` and ``m``, their numbers of
    images; ``llr``, the calibrated decimal logarithm of how much likelier they are by one maker than by two; ``low``
    and ``high``, its 90 % interval; ``verdict``, "one maker" or "two makers".
    """
    sides, photographs = {str(side): _files(side) for side in (a, b)}, _photographs(real)
    _check_apart(a, b, *([real] if real else []))
    with _bar("verify", len(photographs) + sum(map(len, sides.values())), progress) as bar:
        reader = _Reader(Rule("whole", WHOLE_SIZE, 3, equalise), workers, bar)
        metric = reader.learn(photographs) if photographs else metrics.shipped()
        classes, copies, artifacts = reader.read(sides, metric)
        means = [
            _resampled(_stack(artifacts, some))
            if len(some) > 1
            else reader.artifacts(some[0].path, metric, RESAMPLES)[1]
            for some in classes.values()
        ]
    n, m = map(len, classes.values())
    llr, low, high = _interval(metric.plda().compare(*means, n=n, m=m))
    verdict = "one maker" if llr > 0 else "two makers"
    row = {"a": str(a), "b": str(b), "n": n, "m": m, "llr": llr, "low": low, "high": high, "verdict": verdict}
    about = _about(metric, real, photographs) | {label: _images(some) for label, some in classes.items()}
    return Answer(pd.DataFrame([row]), _doubts(classes, copies), about)


def sentence(answer: Answer) -> str:
    """The answer of `verify` in words."""
    llr, low, high = answer.table.loc[0, ["llr", "low", "high"]]
    if llr > 0:
        return f"One maker: 10^{llr:.1f} times likelier than two (90 % interval: 10^{low:.1f} to 10^{high:.1f})"
    return f"Two makers: 10^{-llr:.1f} times likelier than one (90 % interval: 10^{-high:.1f} to 10^{-low:.1f})"


@dataclass(frozen=True)
class _Reader:
    """Read pictures of any size, each once, and keep little of each; the bar counts them."""

    rule: Rule
    workers: int
    bar: tqdm

    def each(self, function: Callable, paths: Iterable[Path]) -> Iterator:
        for result in pictures.each(function, paths, workers=self.workers):
            self.bar.update()
            yield result

    def pixels(self, path: Path) -> tuple[Picture, np.ndarray]:
        """A picture and its pixels, uint8 `(3, h, w)`."""
        picture, image = pictures.read(path)
        self.rule.check(picture)
        return picture, self.rule.cut(image)[0]

    def artifacts(self, path: Path, metric: Metric, n: int = 0) -> tuple[Picture, np.ndarray]:
        """A picture and its artifact, and those of n resamples of its windows: float32 `(1 + n, d)`."""
        picture, pixels = self.pixels(path)
        vectors = PowerSpectrum().resample(pixels.astype(np.float32) / np.float32(255), n, seed=0)
        return picture, ((vectors - metric.mean) @ metric.whitening).astype(np.float32)

    def read(
        self, named: Mapping[str, Sequence[Path]], metric: Metric
    ) -> tuple[dict[str, list[Picture]], dict[str, int], dict[Path, np.ndarray]]:
        """The pictures of each class without copies, the number of these, and the artifact `(d,)` of each file."""
        read = self.each(lambda path: self.artifacts(path, metric), (path for some in named.values() for path in some))
        found = {label: [next(read) for _ in some] for label, some in named.items()}
        artifacts = {picture.path: vectors[0] for some in found.values() for picture, vectors in some}
        return *distinct({label: [picture for picture, _ in some] for label, some in found.items()}), artifacts

    def learn(self, photographs: Sequence[Path]) -> Metric:
        """A metric of crops of photographs, with the calibration of the one that ships."""

        def crops(path: Path) -> tuple[str, list[np.ndarray]]:
            picture, pixels = self.pixels(path)
            corners = [*itertools.product(*(range(0, max(side - CROP, 0) + 1, CROP) for side in pixels.shape[1:]))]
            chosen = corners[:: -(-len(corners) * len(photographs) // CROPS)]
            return picture.digest, [pixels[:, top : top + CROP, left : left + CROP].copy() for top, left in chosen]

        found = dict(self.each(crops, photographs))
        _check_enough(len(found), photographs[0].parent)
        return Metric.learn(
            [crop for some in found.values() for crop in some], calibration=metrics.shipped().calibration
        )


def _bar(name: str, total: int, progress: bool) -> tqdm:
    return tqdm(desc=name, total=total, unit="image", disable=None if progress else True)


def _files(place: Path | str) -> list[Path]:
    place = files.as_path("images", place)
    return [place] if place.is_file() else pictures.find(place)


def _photographs(real: Path | str | None) -> list[Path]:
    """The files that a metric is learnt from: of very many, some from all over the folder."""
    if real is None:
        return []
    found = pictures.find(real)
    _check_enough(len(found), real)
    return found[:: -(-len(found) // CROPS)]


def _check_enough(n: int, real: Path | str) -> None:
    if n < FEWEST:
        raise InputError(f"{real}: {n} different images; {FEWEST} at least are needed as real images")


def _check_apart(*places: Path | str) -> None:
    for inner, outer in itertools.permutations(places, 2):
        if Path(inner).resolve().is_relative_to(Path(outer).resolve()):
            raise InputError(f"{inner}: lies in {outer}; keep the two apart")


def _name(path: Path, place: Path | str) -> str:
    return path.name if path == Path(place) else str(path.relative_to(place))


def _stack(artifacts: Mapping[Path, np.ndarray], some: Iterable[Picture]) -> np.ndarray:
    return np.stack([artifacts[picture.path] for picture in some])


def _resampled(artifacts: np.ndarray) -> np.ndarray:
    """The mean of artifacts `(n, d)` and those of images drawn from them again: `(1 + RESAMPLES, d)`."""
    n = len(artifacts)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return np.concatenate([np.ones((1, n)), drawn]) @ artifacts / n


def _interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Natural log ratios, of the data and of resamples, `(1 + n,)`: the first with its interval, in decimal ones."""
    ratio, others = ratios[0], ratios[1:]
    low, high = ratio + np.quantile(others - others.mean(), INTERVAL)
    return tuple(float(value / np.log(10)) for value in (ratio, low, high))


def _verdict(plda: PLDA, vectors: np.ndarray, m: int = 1) -> dict:
    """The columns of a row of `identify`, from the artifact that is judged and its resamples, `(1 + n, d)`."""
    ratios = plda.decision_function(vectors, m=m)  # (1 + n, makers)
    first, *others = np.argsort(-ratios[0], kind="stable")
    llr, low, high = _interval(ratios[:, first])
    maker = plda.classes_[first]
    row = {"maker": maker, "llr": llr, "runner_up": "", "runner_up_llr": np.nan, "low": low, "high": high}
    if others:
        row |= {"runner_up": plda.classes_[others[0]], "runner_up_llr": ratios[0, others[0]] / np.log(10)}
    return row | {"verdict": maker if llr > 0 else NOBODY}


def _doubts(classes: Mapping[str, Sequence[Picture]], copies: Mapping[str, int]) -> list[str]:
    lines = differences(classes)
    for label, some in classes.items():
        if label == QUERY and len(some) == 1:
            lines.append("query: 1 image; several of one maker, judged together, are more certain")
        elif label != QUERY and len(some) < FEW:
            lines.append(f"{label}: {_images(some)}; {FEW} or more of a maker are more certain")
    return lines + [f"{label}: copies left out, {n} in all" for label, n in copies.items() if n]


def _images(some: Sequence[Picture]) -> str:
    return f"{len(some)} image{'s' * (len(some) != 1)}"


def _about(metric: Metric, real: Path | str | None, photographs: Sequence[Path]) -> dict[str, str]:
    learnt = f"learnt from {len(photographs)} photographs in {real}" if photographs else "the one that ships"
    return {"metric": f"{learnt}; {'not ' * (metric.calibration is None)}calibrated"}

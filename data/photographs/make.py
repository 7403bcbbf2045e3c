"""How the crops in this folder were cut out of photographs of Debian packages and of installed wheels.

    # on Debian 13; Debian 12 has the same photographs but for those of budgie-backgrounds
    apt-get download budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 palapeli-data
    for package in *.deb; do dpkg-deb -x "$package" extracted; done
    python make.py extracted

Each photograph is halved by averaging 2x2 pixels, which removes what is left of its JPEG blocks, and cut into squares
that do not overlap. Near-constant squares are left out. The squares of a photograph lie one above the other in one
lossless file. Those of train, val and test have a rim of 2 pixels, so that 2, 3 and 4 divide their side of 132. All
squares of a photograph are in one split.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from manifpt.utils import files

HERE = Path(__file__).parent
SIZE, RIM = 128, 2
FLAT_BELOW = 6.0  # standard deviation of a square's luma, in grey levels
COUNT = {"reference": 500, "train": 150, "val": 45, "test": 105}
MOST = 120  # squares of one photograph

BUDGIE, PALAPELI = "budgie-backgrounds 3.0-1", "palapeli-data 4:25.04.0-1"
LOMIRI16, LOMIRI20 = "lomiri-wallpapers-16.04 20.04.0-4", "lomiri-wallpapers-20.04 20.04.0-4"
FOLDERS = {  # of Debian packages; any other package is a wheel
    BUDGIE: "usr/share/backgrounds/budgie",
    LOMIRI16: "usr/share/backgrounds",
    LOMIRI20: "usr/share/backgrounds",
    PALAPELI: "usr/share/palapeli/collection",
}
PHOTOGRAPHS = [  # split, package, file in it, author, licence
    ("reference", "skimage", "data/astronaut.png", "NASA", "public domain"),
    ("reference", "skimage", "data/chelsea.png", "Stéfan van der Walt", "CC0-1.0"),
    ("reference", "skimage", "data/rocket.jpg", "SpaceX", "public domain"),
    ("reference", "sklearn", "datasets/images/china.jpg", "danielbuechele", "CC-BY-2.0"),
    ("reference", "sklearn", "datasets/images/flower.jpg", "vultilion", "CC-BY-2.0"),
    ("reference", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "James S. Davis, US Navy", "public domain"),
    ("reference", LOMIRI16, "aitzgorri_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    ("reference", LOMIRI16, "Bridge_by_Sander_Klootwijk.jpg", "Sander Klootwijk", "CC-BY-SA-4.0"),
    ("reference", LOMIRI16, "picosdeeuropa_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    ("reference", LOMIRI16, "Picture_0B_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0"),
    ("reference", LOMIRI16, "Picture_1A_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0"),
    ("reference", LOMIRI16, "seeding_by_Clements_Engelhardt.jpg", "Clemens Engelhardt", "CC0-1.0"),
    ("reference", LOMIRI16, "sunset_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    ("reference", BUDGIE, "beacon-street-sunset.jpg", "Matthew Landers", "CC0-1.0"),
    ("reference", BUDGIE, "blue-periwinkle.jpg", "Noah Silliman", "CC0-1.0"),
    ("reference", BUDGIE, "canyon-wren.jpg", "Brad Sutton, US National Park Service", "public domain"),
    ("reference", BUDGIE, "casa-mila.jpg", "Alexandre Perotto", "CC0-1.0"),
    ("reference", BUDGIE, "tea-gardens.jpg", "Vivek Kumar", "CC0-1.0"),
    ("reference", PALAPELI, "citrus-fruits.jpg", "US Department of Agriculture", "public domain"),
    ("train", "skimage", "data/coffee.png", "Rachel Michetti", "CC0-1.0"),
    ("train", LOMIRI16, "Dragonfly_by_Bolly.jpg", "Bolly", "CC-BY-SA-4.0"),
    ("train", LOMIRI16, "friends_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    ("train", BUDGIE, "extreme-desert-hike.jpg", "Luca Zanon", "CC0-1.0"),
    ("train", BUDGIE, "lake-sherburne.jpg", "Jacob W. Frank, US National Park Service", "public domain"),
    ("train", BUDGIE, "oakland-zoo-otters.jpg", "Derrick Coetzee", "CC0-1.0"),
    ("train", PALAPELI, "european-honey-bee.jpg", "John Severns", "public domain"),
    ("val", LOMIRI16, "Wine_by_Jakkub_Mede.jpg", "Jakub Mede", "CC-BY-4.0"),
    ("val", BUDGIE, "perched-osprey.jpg", "US National Park Service", "public domain"),
    ("val", BUDGIE, "singaporean-cityscape.jpg", "Romain Guy", "CC0-1.0"),
    ("test", LOMIRI16, "free_by_Peter_Nerlich.jpg", "Peter Nerlich", "CC-BY-SA-4.0"),
    ("test", LOMIRI16, "greentock_by_Peter_Nerlich.jpg", "Peter Nerlich", "CC-BY-SA-4.0"),
    ("test", LOMIRI16, "life_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    ("test", LOMIRI20, "Kleiber_by_Lukas_Baubkus.jpg", "Lukas Baubkus", "CC-BY-SA-3.0"),
    ("test", BUDGIE, "roman-colosseum.jpg", "Bence Boros", "CC0-1.0"),
    ("test", PALAPELI, "cincinnati-bridge.jpg", "Derek Jensen", "public domain"),
]


def source(package: str, file: str, extracted: Path) -> Path:
    """Where a photograph lies: below `extracted` if a Debian package has it, else in an installed wheel."""
    if package in FOLDERS:
        return extracted / FOLDERS[package] / file
    return Path(importlib.util.find_spec(package).origin).parent / file


def squares(photograph: Image.Image, side: int) -> np.ndarray:
    """Squares of a halved photograph that vary, in a fixed random order: uint8 `(n, side, side, 3)`."""
    pixels = np.asarray(photograph.convert("RGB").reduce(2))
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    top, left = (pixels.shape[0] - rows * side) // 2, (pixels.shape[1] - columns * side) // 2
    tiles = pixels[top : top + rows * side, left : left + columns * side]
    tiles = tiles.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    kept = tiles[tiles.mean(-1).std((1, 2)) >= FLAT_BELOW]
    return kept[np.random.default_rng(0).permutation(len(kept))]


def shares(available: list[int], total: int) -> list[int]:
    """How many of each are taken, as evenly as what is available allows; `total` in all.

    Raise `ValueError` if fewer than `total` are available.
    """
    if sum(available) < total:
        raise ValueError(f"{total} squares wanted, {sum(available)} available")
    taken = [0] * len(available)
    while sum(taken) < total:
        for index, n in enumerate(available):
            taken[index] += taken[index] < n and sum(taken) < total
    return taken


def main(extracted: Path) -> None:
    """Write the crops and `manifest.json` into this folder."""
    records = []
    for split, count in COUNT.items():
        side = SIZE if split == "reference" else SIZE + 2 * RIM
        chosen = [entry for entry in PHOTOGRAPHS if entry[0] == split]
        paths = [source(package, file, extracted) for _, package, file, *_ in chosen]
        found = [squares(Image.open(path), side)[:MOST] for path in paths]
        taken = shares([len(tiles) for tiles in found], count)
        for (_, package, file, author, licence), path, tiles, n in zip(chosen, paths, found, taken, strict=True):
            out = HERE / f"{path.stem.lower()}.webp"
            Image.fromarray(tiles[:n].reshape(n * side, side, 3)).save(out, lossless=True, quality=80, method=4)
            records.append(
                {"file": out.name, "split": split, "n": n, "side": side, "author": author, "licence": licence}
                | {"source": f"{package}: {file}", "source_sha256": files.sha256(path), "sha256": files.sha256(out)}
            )
    files.write_text(HERE / "manifest.json", json.dumps({"photographs": records}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

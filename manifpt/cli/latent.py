"""The commands of latent fingerprints: ``manifpt latent …``."""

import math
from pathlib import Path
from typing import Annotated

import typer

from manifpt.cli.options import Count, Grid, NoiseSeed, option
from manifpt.data import mosaics
from manifpt.utils import files
from manifpt.utils.errors import InputError, check_choice

latent = typer.Typer(no_args_is_help=True, help="Write users' keys into generated images; read them back.")

Users = Annotated[Path, option("FILE", "JSON file of users, their keys and the fingerprint's settings.")]
AT_A_TIME = 4  # images read before their lines are printed
GREY = 127.5  # grey levels per unit of images in [-1, 1]


@latent.command("register", epilog="Example: manifpt latent register ada --registry users.json")
def latent_register(
    user: Annotated[str, typer.Argument(help="Name of a new user.")],
    registry: Users,
    key: Annotated[str, option("KEY", "0b…, 0x… or text; default: random bits, which the p of a claim assumes.")] = "",
    model: Annotated[str | None, option("NAME", "For a new file: stylegan2 (default) or ldm.")] = None,
    dataset: Annotated[str | None, option("NAME", "For a new file: its GM dataset; default gm-fashion.")] = None,
    key_length: Annotated[
        int | None, option("N", "For a new file: bits of a key; default 32, for up to 4,000 users at p < 1e-6.")
    ] = None,
    shift: Annotated[int | None, option("N", "For a new file: first component; default: the last ones.")] = None,
    sigma: Annotated[float | None, option("X", "For a new file: strength of the key; default 2.")] = None,
) -> None:
    """Register a user and draw a key; the first user creates the file, which fixes the fingerprint's settings.

    The file holds the keys, which are secret: only its owner may read it. Keep it apart from the users' images.
    """
    from manifpt.latent.fingerprinter import LatentFingerprinter
    from manifpt.latent.generators import load_generator
    from manifpt.latent.keys import Registry, check_name, parse_key, show_key

    options = {"key_length": key_length, "shift": shift, "sigma": sigma}
    given = {name: value for name, value in options.items() if value is not None}
    if not registry.exists():
        check_name(user)
        files.check_writable(registry, ending=".json")
        length = given.setdefault("key_length", 32)
        if key:
            parse_key(key, length)
        repeated = {"repeat": 3, "content": "sample"} if model == "ldm" else {}
        generator = load_generator(model or "stylegan2", dataset=dataset or "gm-fashion")
        Registry.create(registry, LatentFingerprinter(generator, **given, **repeated).settings, exist_ok=True)
    known = Registry(registry)
    dataset_, _, model_ = known.settings.get("generator", "").rpartition("/")
    settled = {"dataset": dataset_, "model": model_} | known.settings
    given |= {name: value for name, value in (("model", model), ("dataset", dataset)) if value}
    if other := [name for name, value in given.items() if value != settled[name]]:
        shown = ", ".join(f"--{name.replace('_', '-')} {settled[name]}" for name in other)
        raise InputError(f"{registry}: was made with {shown}; leave that out, or name a new file")
    typer.echo(f"{user}: {show_key(known.add(user, key or None))}")


@latent.command("embed", epilog="Example: manifpt latent embed ada --registry users.json --grid ada.png -n 16")
def latent_embed(
    user: Annotated[str, typer.Argument(help="Name of the user whose key is written.")],
    registry: Users,
    grid: Grid,
    n: Count = 16,
    seed: NoiseSeed = 0,
) -> None:
    """Generate images that carry a user's key."""
    from manifpt.latent.fingerprinter import LatentFingerprinter
    from manifpt.latent.keys import Registry

    files.check_writable(grid, ending=".png")
    known = Registry(registry)
    if user not in known.users:
        there = ", ".join(known.users) or "none"
        raise InputError(f"{registry}: no user {user!r}, but {there}; register, or choose one")
    images = LatentFingerprinter.from_settings(known.settings).embed(known.users[user], n, seed)
    mosaics.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))


@latent.command("attribute", epilog="Example: manifpt latent attribute ada.png --registry users.json")
def latent_attribute(
    grid: Annotated[Path, typer.Argument(help="PNG file of tiles of 32x32 pixels.")],
    registry: Users,
    n: Annotated[
        int | None, option("N", "Number of tiles to read; default: all but black ones at the end.", "-n", min=1)
    ] = None,
    search: Annotated[str, option("NAME", "newton, or adam as in the released code.")] = "newton",
    loss: Annotated[
        str | None, option("NAME", "Loss of adam; default perceptual+pixel. The paper's is lpips, a download.")
    ] = None,
    attack: Annotated[str, option("NAME", "Attack that the images are known to have undergone, e.g. jpeg.")] = "none",
    starts: Annotated[int | None, option("N", "Most starts an image; default: 4, with adam 20.", min=1)] = None,
    steps: Annotated[int | None, option("N", "Most steps a start; default: 60, with adam 2000.", min=0)] = None,
    warm: Annotated[int, option("N", "Steps of training of a first guess; 0: none.", min=0)] = 0,
    max_p: Annotated[float, option("X", "False-positive rate of a claim.")] = 1e-6,
) -> None:
    """Name the user whose key each image carries, or print that no user's key was found.

    An image takes about ten seconds. The residual tells whether the search reproduced the image: it is some tenths of a
    grey level if this generator made the image, with any key, and it was not changed since; otherwise it is larger.
    """
    from manifpt.latent.adam import AdamEstimator
    from manifpt.latent.attacks import attack_named
    from manifpt.latent.attribute import attribute, check_claims
    from manifpt.latent.fingerprinter import LatentFingerprinter
    from manifpt.latent.keys import Registry
    from manifpt.latent.newton import NewtonEstimator
    from manifpt.latent.warm import train_warm_start

    searches = {"newton": NewtonEstimator, "adam": AdamEstimator}
    check_choice("--search", search, searches)
    if loss and search != "adam":
        raise InputError(f"--loss {loss}: only --search adam has a choice; {search} compares pixels")
    attack_named(attack)
    known, images = Registry(registry), mosaics.load_mosaic(grid, n)
    check_claims(known.settings, known, max_p)
    fingerprinter = LatentFingerprinter.from_settings(known.settings)
    first = train_warm_start(fingerprinter, steps=warm) if warm else None
    given = {"loss": loss, "starts": starts, "steps": steps}
    given = {name: value for name, value in given.items() if value is not None}
    estimator = searches[search](fingerprinter, warm_start=first, attack=attack, **given)
    for done in range(0, len(images), AT_A_TIME):
        claims = attribute(images[done : done + AT_A_TIME], estimator, known, max_p=max_p)
        for number, decision in enumerate(claims.decision):
            nearest, end = claims.distances[number].argmin(), claims.loss[number]
            bits = f"{claims.distances[number, nearest]} bits from {claims.users[nearest]}"
            left = f"residual {GREY * end:.1f} grey levels" if search == "newton" else f"loss {end:.2g}"
            typer.echo(f"{done + number}: {decision} (p = {claims.p[number]:.1g}, {bits}, {left})")

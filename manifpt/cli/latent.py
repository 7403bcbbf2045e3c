"""The commands of latent fingerprints: ``manifpt latent …``."""

import math
from pathlib import Path
from typing import Annotated

import typer

from manifpt.data import mosaics
from manifpt.utils import files
from manifpt.utils.errors import InputError

latent = typer.Typer(no_args_is_help=True, help="Write users' keys into images as they are generated; read them back.")

Users = Annotated[
    Path, typer.Option(metavar="FILE", help="JSON file of users, their keys and the fingerprint's settings.")
]
AT_A_TIME = 4  # images read before their lines are printed
GREY = 127.5  # levels a unit, in images from -1 to 1
Seed = Annotated[int, typer.Option(metavar="N", help="Of the noise.")]


@latent.command("register", epilog="Example: manifpt latent register ada --registry users.json")
def latent_register(
    user: Annotated[str, typer.Argument(help="Name of a new user.")],
    registry: Users,
    key: Annotated[
        str, typer.Option(metavar="KEY", help="0b…, 0x… or text; default: random bits, which a claim's p counts on.")
    ] = "",
    model: Annotated[str | None, typer.Option(metavar="NAME", help="New file: stylegan2 (default) or ldm.")] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="New file: GM dataset of the model; default gm-fashion.")
    ] = None,
    key_length: Annotated[
        int | None,
        typer.Option(metavar="N", help="New file: bits of a key; default 32, for up to 4,000 users at p < 1e-6."),
    ] = None,
    shift: Annotated[
        int | None, typer.Option(metavar="N", help="New file: first component; default: last ones.")
    ] = None,
    sigma: Annotated[float | None, typer.Option(metavar="X", help="New file: strength of the key; default 2.")] = None,
) -> None:
    """Give a user a key; the first user makes the file, and settles the fingerprint's settings in it.

    The file holds the keys, which are secret: keep it where users' images do not go.
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
    generated_by = known.settings.get("generator", "/").split("/")
    settled = dict(zip(("dataset", "model"), generated_by, strict=True)) | known.settings
    given |= {name: value for name, value in (("model", model), ("dataset", dataset)) if value}
    if other := [name for name, value in given.items() if value != settled[name]]:
        shown = ", ".join(f"--{name.replace('_', '-')} {settled[name]}" for name in other)
        raise InputError(f"{registry}: was made with {shown}; leave that out, or name a new file")
    typer.echo(f"{user}: {show_key(known.add(user, key or None))}")


@latent.command("embed", epilog="Example: manifpt latent embed ada --registry users.json --grid ada.png -n 16")
def latent_embed(
    user: Annotated[str, typer.Argument(help="Whose key to write.")],
    registry: Users,
    grid: Annotated[Path, typer.Option(metavar="FILE", help="PNG to write: a square of images.")],
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Images.")] = 16,
    seed: Seed = 0,
) -> None:
    """Generate images that carry a user's key."""
    from manifpt.latent.fingerprinter import LatentFingerprinter
    from manifpt.latent.keys import Registry

    files.check_writable(grid, ending=".png")
    known = Registry(registry)
    if user not in known.users:
        raise InputError(
            f"{registry}: no user {user!r}, but {', '.join(known.users) or 'none'}; register, or choose one"
        )
    images = LatentFingerprinter.from_settings(known.settings).embed(known.users[user], n, seed)
    mosaics.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))


@latent.command("attribute", epilog="Example: manifpt latent attribute ada.png --registry users.json")
def latent_attribute(
    grid: Annotated[Path, typer.Argument(help="PNG of tiles of 32 pixels.")],
    registry: Users,
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, metavar="N", help="Tiles to read; default: all but black ones at the end."),
    ] = None,
    search: Annotated[str, typer.Option(metavar="NAME", help="newton, or adam as in the released code.")] = "newton",
    loss: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of adam; default perceptual+pixel. The paper's is lpips, of a download."),
    ] = None,
    attack: Annotated[
        str, typer.Option(metavar="NAME", help="What the images are known to have gone through, e.g. jpeg or blur.")
    ] = "none",
    starts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="For each image at most; default: 4, of adam 20.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, metavar="N", help="At most; default: 60, of adam 2000.")] = None,
    warm: Annotated[int, typer.Option(min=0, metavar="N", help="Train a first guess for N steps; 0: none.")] = 0,
    max_p: Annotated[float, typer.Option(metavar="X", help="False-positive rate of a claim.")] = 1e-6,
) -> None:
    """Name the user whose key each image carries, or say that it is not ours.

    An image takes some ten seconds. The residual tells whether the search explained it: some tenths of a grey level if
    this generator made it, with whatever key, and nobody touched it; more for other images, or if the search failed.
    """
    from manifpt.latent.adam import LatentEstimator
    from manifpt.latent.attacks import attack_named
    from manifpt.latent.attribute import attribute, check_claims
    from manifpt.latent.fingerprinter import LatentFingerprinter
    from manifpt.latent.keys import Registry
    from manifpt.latent.newton import NewtonEstimator
    from manifpt.latent.warm import train_warm_start

    searches = {"newton": NewtonEstimator, "adam": LatentEstimator}
    if search not in searches:
        raise InputError(f"--search {search}: unknown; choose one of {', '.join(searches)}")
    if loss and search != "adam":
        raise InputError(f"--loss {loss}: only --search adam has a choice; {search} compares pixels")
    attack_named(attack)
    known, images = Registry(registry), mosaics.load_mosaic(grid, n)
    check_claims(known.settings, known, max_p)
    fingerprinter = LatentFingerprinter.from_settings(known.settings)
    first = train_warm_start(fingerprinter, steps=warm) if warm else None
    options = {"loss": loss, "starts": starts, "steps": steps}
    given = {name: value for name, value in options.items() if value is not None}
    estimator = searches[search](fingerprinter, warm_start=first, attack=attack, **given)
    for done in range(0, len(images), AT_A_TIME):
        claims = attribute(images[done : done + AT_A_TIME], estimator, known, max_p=max_p)
        for number, decision in enumerate(claims.decision):
            nearest, end = claims.distances[number].argmin(), claims.loss[number]
            bits = f"{claims.distances[number, nearest]} bits from {claims.users[nearest]}"
            left = f"residual {GREY * end:.1f} grey levels" if search == "newton" else f"loss {end:.2g}"
            typer.echo(f"{done + number}: {decision} (p = {claims.p[number]:.1g}, {bits}, {left})")

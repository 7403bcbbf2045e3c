"""The commands of latent fingerprints: ``manifpt latent …``."""

import math
from pathlib import Path
from typing import Annotated

import typer

from manifpt import files
from manifpt.errors import InputError

latent = typer.Typer(no_args_is_help=True, help="Write users' keys into images as they are generated; read them back.")

Users = Annotated[
    Path, typer.Option(metavar="FILE", help="JSON file of users, their keys and the fingerprint's settings.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the noise.")]


@latent.command("register", epilog="Example: manifpt latent register ada --registry users.json --key-length 32")
def latent_register(
    user: Annotated[str, typer.Argument(help="Name of a new user.")],
    registry: Users,
    key: Annotated[str, typer.Option(metavar="KEY", help="0b…, 0x… or text; default: random bits.")] = "",
    model: Annotated[str, typer.Option(metavar="NAME", help="New file: stylegan2 or ldm.")] = "stylegan2",
    dataset: Annotated[str, typer.Option(metavar="NAME", help="New file: GM dataset of the model.")] = "gm-fashion",
    key_length: Annotated[int, typer.Option(metavar="N", help="New file: bits of a key.")] = 32,
    shift: Annotated[
        int | None, typer.Option(metavar="N", help="New file: first component; default: last ones.")
    ] = None,
    sigma: Annotated[float, typer.Option(metavar="X", help="New file: strength of the key.")] = 2.0,
) -> None:
    """Give a user a key; the first user makes the file, and settles the fingerprint's settings in it."""
    from manifpt.latent.directions import LatentFingerprinter
    from manifpt.latent.generators import load_generator
    from manifpt.latent.keys import Registry, parse_key, show_key

    if not registry.exists():
        if key:
            parse_key(key, key_length)
        repeated = {"repeat": 3, "content": "sample"} if model == "ldm" else {}
        generator = load_generator(model, dataset=dataset)
        made = LatentFingerprinter(generator, key_length=key_length, shift=shift, sigma=sigma, **repeated)
        Registry.create(registry, made.settings)
    typer.echo(f"{user}: {show_key(Registry(registry).add(user, key or None))}")


@latent.command("embed", epilog="Example: manifpt latent embed ada --registry users.json --grid ada.png -n 16")
def latent_embed(
    user: Annotated[str, typer.Argument(help="Whose key to write.")],
    registry: Users,
    grid: Annotated[Path, typer.Option(metavar="FILE", help="PNG to write: a square of images.")],
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Images.")] = 16,
    seed: Seed = 0,
) -> None:
    """Generate images that carry a user's key."""
    from manifpt.latent.directions import LatentFingerprinter
    from manifpt.latent.keys import Registry

    files.check_writable(grid, ending=".png")
    known = Registry(registry)
    if user not in known.users:
        raise InputError(f"{registry}: no user {user!r}; register, or choose one of {', '.join(known.users) or 'none'}")
    images = LatentFingerprinter.from_settings(known.settings).embed(known.users[user], n, seed)
    files.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))


@latent.command("attribute", epilog="Example: manifpt latent attribute ada.png -n 16 --registry users.json")
def latent_attribute(
    grid: Annotated[Path, typer.Argument(help="PNG of tiles of 32 pixels.")],
    registry: Users,
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Tiles to read.")] = 1,
    search: Annotated[str, typer.Option(metavar="NAME", help="newton, or adam as in the released code.")] = "newton",
    loss: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of adam: perceptual, lpips (downloads VGG16), or pixel.")
    ] = None,
    starts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="For each image at most; default: 4, of adam 20.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, metavar="N", help="At most; default: 60, of adam 2000.")] = None,
    warm: Annotated[int, typer.Option(min=0, metavar="N", help="Train a first guess for N steps; 0: none.")] = 0,
    max_p: Annotated[float, typer.Option(metavar="X", help="False-positive rate of a claim.")] = 1e-6,
) -> None:
    """Name the user whose key each image carries, or say that it is not ours."""
    from manifpt.latent.claims import attribute, check_claims
    from manifpt.latent.directions import LatentFingerprinter
    from manifpt.latent.estimate import LatentEstimator
    from manifpt.latent.keys import Registry
    from manifpt.latent.newton import NewtonEstimator
    from manifpt.latent.warm import train_warm_start

    searches = {"newton": NewtonEstimator, "adam": LatentEstimator}
    if search not in searches:
        raise InputError(f"--search {search}: unknown; choose one of {', '.join(searches)}")
    if loss and search != "adam":
        raise InputError(f"--loss {loss}: only --search adam has a choice; {search} compares pixels")
    known, images = Registry(registry), files.load_mosaic(grid, n)
    check_claims(known.settings, known, max_p)
    fingerprinter = LatentFingerprinter.from_settings(known.settings)
    first = train_warm_start(fingerprinter, steps=warm) if warm else None
    options = {"loss": loss, "starts": starts, "steps": steps}
    given = {name: value for name, value in options.items() if value is not None}
    estimator = searches[search](fingerprinter, warm_start=first, **given)
    claims = attribute(images, estimator, known, max_p=max_p)
    for number, (decision, p) in enumerate(zip(claims.decision, claims.p, strict=True)):
        typer.echo(f"{number}: {decision} (p = {p:.1g})")

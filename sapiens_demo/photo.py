"""A path, bytes, a PIL image or an array become one upright RGB picture, or one sentence of why not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms

from sapiens_demo.errors import DemoError

MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_SIDE = 32_000  # OpenCV's warps count pixels in 16 bits

_BACKDROP = (128, 128, 128)  # neutral grey under transparent pixels
_STRIP_PIXELS = 1 << 20  # converted at a time, so that a large photo never exists three times over

# PIL's other readers are left out on purpose: some start foreign programs, some take any bytes for a picture.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM")

_HEAD_BYTES = 4096
_DAMAGED = "This picture is damaged, cut off or of an unusual kind: save it as JPEG or PNG and try again."

# offset, bytes found there, what people call it
_FOREIGN = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript drawing"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"ftyphei", "a HEIC photo"),
    (4, b"ftyphev", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIC photo"),
    (4, b"ftypmsf1", "a HEIC photo"),
    (4, b"ftypcrx", "a camera's raw photo"),
    (8, b"CR\x02", "a camera's raw photo"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw photo"),
    (4, b"ftyp", "a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"\x00\x00\x01\xba", "a video"),
    (0, b"FLV\x01", "a video"),
    (0, b"OggS", "a sound or video file"),
    (0, b"ID3", "a sound file"),
    (8, b"WAVE", "a sound file"),
    (0, b"PK\x03\x04", "an archive or office document"),
    (0, b"\x1f\x8b", "an archive"),
    (0, b"\x00\x00\x01\x00", "an icon"),
)
# offset, bytes found there: pictures this module reads, so that a failure means damage
_KNOWN = (
    (0, b"\xff\xd8"),
    (0, b"\x89PNG"),
    (0, b"GIF8"),
    (8, b"WEBP"),
    (4, b"ftypavi"),
    (0, b"BM"),
    (0, b"II*\x00"),
    (0, b"MM\x00*"),
    (4, b"jP  "),
)

# EXIF orientation to the view of an upright (H, W, C) array in which the picture lies as it is stored
_STORED_VIEWS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: upright[::-1].transpose(1, 0, 2),
}


class PhotoError(DemoError):
    """Say why a picture cannot be used and what to do."""


def read_photo(source: str | Path | bytes | Image.Image | np.ndarray) -> np.ndarray:
    """Read a picture of any kind.

    Turned upright by its EXIF orientation, converted to sRGB where it carries another colour profile, laid
    over neutral grey where it is transparent, 16 bits scaled to 8, the first frame of an animation. The size
    is checked before anything is decoded.

    Args:
        source: path, content of a file, PIL image, or array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of
            uint8, uint16, or floats from 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, sharing no memory with the source.

    Raises:
        PhotoError: if it is no usable picture; the message says what to do.
    """
    _silence_pil()
    if isinstance(source, np.ndarray):
        return _read_array(source)
    if isinstance(source, Image.Image):
        return _read_image(source)
    if isinstance(source, bytes):
        return _read_stream(BytesIO(source))
    if isinstance(source, (str, Path)):
        return _read_path(Path(source))
    raise PhotoError(
        f"A picture cannot be read from {type(source).__name__}: give a path, bytes, a PIL image or an array."
    )


def _silence_pil() -> None:
    """Ignore PIL's warnings of large sizes and damaged metadata: both are answered here.

    Asked for at every read, as filters go away with the context they were set in. A context of its own would
    be no better: filters belong to the process, and visitors' threads would put back each other's.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def _read_path(path: Path) -> np.ndarray:
    try:
        if path.is_dir():
            raise PhotoError(f"{path} is a folder: give the path of one picture.")
        if path.exists() and not path.is_file():
            raise PhotoError(f"{path} is not an ordinary file: give the path of one picture.")
        with path.open("rb") as stream:
            return _read_stream(stream)
    except FileNotFoundError as error:
        raise PhotoError(f"There is no file {path}: check its name and folder.") from error
    except (OSError, ValueError) as error:
        raise PhotoError(f"{str(path)[:200]!r} cannot be read: check its name and your rights.") from error


def _read_stream(stream: BinaryIO) -> np.ndarray:
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    try:
        image = Image.open(stream, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(_say_too_large("far more")) from error
    except Exception as error:  # hostile headers raise nearly anything
        raise PhotoError(_explain(head)) from error
    with image:
        return _read_image(image)


def _read_image(image: Image.Image) -> np.ndarray:
    _check_size(*image.size)
    try:
        image.load()
        return _decode(image)
    except Exception as error:  # hostile content raises nearly anything
        raise PhotoError(_DAMAGED) from error


def _decode(image: Image.Image) -> np.ndarray:
    white = _white_level(image)
    to_srgb = _color_conversion(image)

    def convert(top: int, bottom: int) -> Image.Image:
        strip = image.crop((0, top, image.width, bottom))
        if white is not None:
            strip = Image.fromarray(_to_bytes(np.asarray(strip), white))
        return to_srgb(_flatten(strip))

    return _convert_in_strips(image.height, image.width, convert, _orientation(image))


def _read_array(array: np.ndarray) -> np.ndarray:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PhotoError(
            f"An array of shape {array.shape} is no picture: give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."
        )
    height, width = array.shape[:2]
    _check_size(width, height)
    if array.dtype == np.uint8:
        white = 255
    elif array.dtype == np.uint16:
        white = 65535
    elif np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # False for NaN too
            raise PhotoError("This float array goes beyond 0 to 1: scale it, or convert it to uint8.")
        white = 1
    else:
        raise PhotoError(
            f"An array of {array.dtype} is no picture: give uint8, uint16 or floats from 0 to 1."
        )
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array

    def convert(top: int, bottom: int) -> Image.Image:
        strip = np.ascontiguousarray(pixels[top:bottom])
        return _flatten(Image.fromarray(strip if white == 255 else _to_bytes(strip, white)))

    return _convert_in_strips(height, width, convert)


def _check_size(width: int, height: int) -> None:
    size = f"{width} x {height} pixels"
    if width < MIN_SIDE or height < MIN_SIDE:
        raise PhotoError(f"This picture has only {size}: use one of at least {MIN_SIDE} x {MIN_SIDE}.")
    if width * height > MAX_PIXELS:
        raise PhotoError(_say_too_large(f"{size}, more"))
    if max(width, height) > MAX_SIDE:
        raise PhotoError(f"This picture has {size}: cut it so that no side is longer than {MAX_SIDE}.")


def _say_too_large(size: str) -> str:
    limit = MAX_PIXELS // 10**6
    return f"This picture has {size} than the limit of {limit} megapixels: make it smaller and try again."


def _explain(head: bytes) -> str:
    """Say what a file is that PIL did not open, from its first bytes."""
    if not head:
        return "This file is empty: choose the picture again."
    if any(head.startswith(mark, offset) for offset, mark in _KNOWN):
        return _DAMAGED
    kind = next((kind for offset, mark, kind in _FOREIGN if head.startswith(mark, offset)), None)
    kind = kind or ("an SVG drawing" if b"<svg" in head.lower() else None)
    kind = kind or ("a text file" if _is_text(head) else None)
    if kind is None:
        return "This file is no picture that can be read here: use JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF."
    return f"This is {kind}, which cannot be read here: save the picture as JPEG or PNG and try again."


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="replace")
    strange = sum(not (letter.isprintable() or letter.isspace()) or letter == "\ufffd" for letter in text)
    return strange <= len(text) // 100


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # damaged metadata must not cost the picture
        return 1
    return orientation if orientation in range(1, 9) else 1


def _white_level(image: Image.Image) -> float | None:
    """Return the value that becomes 255, or None where the picture has 8 bits already."""
    if image.mode.startswith("I;16"):
        return 65535
    if image.mode not in ("I", "F"):
        return None
    brightest = image.getextrema()[1]
    return next((white for white in (1, 255, 65535) if brightest <= white), brightest)


def _to_bytes(values: np.ndarray, white: float) -> np.ndarray:
    scaled = np.nan_to_num(values.astype(np.float32) * (255 / white))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def _flatten(strip: Image.Image) -> Image.Image:
    """Lay a picture over the backdrop where it is transparent; the result has mode L, RGB or CMYK."""
    if strip.has_transparency_data:
        backdrop = Image.new("RGBA", strip.size, _BACKDROP)
        return Image.alpha_composite(backdrop, strip.convert("RGBA")).convert("RGB")
    return strip if strip.mode in ("L", "RGB", "CMYK") else strip.convert("RGB")


def _color_conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return what brings flat strips of a picture from its colour profile to sRGB, if it has a usable one."""
    profile = image.info.get("icc_profile")
    transform: Any = None
    mode = None
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                mode = {"RGB ": "RGB", "CMYK": "CMYK", "GRAY": "L"}[source.profile.xcolor_space]
                transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        except Exception:  # a broken profile must not cost the picture
            transform = None

    def convert(strip: Image.Image) -> Image.Image:
        if transform is not None and strip.mode == mode:
            return ImageCms.applyTransform(strip, transform)
        return strip

    return convert


def _convert_in_strips(
    height: int, width: int, convert: Callable[[int, int], Image.Image], orientation: int = 1
) -> np.ndarray:
    """Fill an upright array from convert(top, bottom), which returns strips of the picture as stored."""
    lies_down = orientation >= 5
    picture = np.empty((width, height, 3) if lies_down else (height, width, 3), np.uint8)
    stored = _STORED_VIEWS[orientation](picture)
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        stored[top:bottom] = np.asarray(convert(top, bottom).convert("RGB"))
    return picture

"""Odd and hostile pictures: the right pixels, or one sentence."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from sapiens_demo.errors import DemoError
from sapiens_demo.photo import PhotoError, read_photo

ROOT = Path(__file__).parents[1]
ORIENTATION = 0x0112
RED, GREEN, BLUE, SAND = (220, 30, 40), (20, 180, 60), (30, 50, 210), (230, 220, 180)


def flag(width: int = 96, height: int = 64) -> np.ndarray:
    """Return a picture whose four quarters differ, so that every turn and swap of channels shows."""
    picture = np.empty((height, width, 3), np.uint8)
    middle_y, middle_x = height // 2, width // 2
    picture[:middle_y, :middle_x], picture[:middle_y, middle_x:] = RED, GREEN
    picture[middle_y:, :middle_x], picture[middle_y:, middle_x:] = BLUE, SAND
    return picture


FLAG = flag()
GREY = np.repeat(np.tile(np.linspace(0, 255, 96).round().astype(np.uint8), (64, 1))[..., None], 3, 2)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int, kind: str, **options: Any) -> bytes:
    """Return a file that stores FLAG turned, with the EXIF mark that turns it back."""
    undo = {
        1: FLAG,
        2: FLAG[:, ::-1],
        3: FLAG[::-1, ::-1],
        4: FLAG[::-1],
        5: FLAG.transpose(1, 0, 2),
        6: np.rot90(FLAG, 1),
        7: FLAG[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(FLAG, -1),
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation]))
    return encoded(stored, kind, exif=exif, **options)


def image_flag(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(FLAG).convert(mode)


def half_transparent(mode: str) -> Image.Image:
    """Return FLAG with its left half fully transparent, bright magenta lying under it."""
    pixels = np.dstack([FLAG, np.full(FLAG.shape[:2], 255, np.uint8)])
    pixels[:, :48] = (255, 0, 255, 0)
    return Image.fromarray(pixels).convert(mode)


def over_grey(picture: np.ndarray) -> np.ndarray:
    shown = picture.copy()
    shown[:, :48] = 128
    return shown


def animation(kind: str) -> bytes:
    frames = [image_flag(), Image.new("RGB", (96, 64), "black")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, loop=0)


def keyed_out(kind: str) -> bytes:
    """Return a palette picture whose red quarter is declared transparent."""
    palette = Image.fromarray(np.kron([[0, 1], [2, 3]], np.ones((32, 48))).astype(np.uint8), "L")
    palette.putpalette([*RED, *GREEN, *BLUE, *SAND])
    return encoded(palette, kind, transparency=0)


def without_red() -> np.ndarray:
    shown = FLAG.copy()
    shown[:32, :48] = 128
    return shown


def sixteen_bits(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.uint16) * 257


def cv2_png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def swapped_profile() -> bytes:
    """Build a colour profile whose red and blue primaries have changed places."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    text = b"text\0\0\0\0none\0\0\0\0"
    name = b"swapped\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(11 + 67 + 2)
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    tags = {
        b"desc": description,
        b"cprt": text,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"bXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"rXYZ": xyz(0.1431, 0.0606, 0.7141),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for mark, content in tags.items():
        table += mark + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    illuminant = number(0.9642) + number(1.0) + number(0.8249)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + illuminant + bytes(48)
    return head + table + body


GOOD: dict[str, tuple[Callable[[], Any], np.ndarray, int]] = {
    "jpeg": (lambda: encoded(image_flag(), "JPEG", quality=95), FLAG, 12),
    "jpeg, progressive": (lambda: encoded(image_flag(), "JPEG", quality=95, progressive=True), FLAG, 12),
    "jpeg, grey": (lambda: encoded(Image.fromarray(GREY[..., 0]), "JPEG", quality=95), GREY, 6),
    "jpeg, CMYK": (lambda: encoded(image_flag("CMYK"), "JPEG", quality=95), FLAG, 14),
    "jpeg, several pictures": (
        lambda: encoded(
            image_flag(), "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64))], quality=95
        ),
        FLAG,
        12,
    ),
    **{f"jpeg, orientation {n}": (lambda n=n: turned(n, "JPEG", quality=95), FLAG, 12) for n in range(1, 9)},
    "png, orientation 6": (lambda: turned(6, "PNG"), FLAG, 0),
    "webp, orientation 8": (lambda: turned(8, "WEBP", lossless=True), FLAG, 0),
    "avif, orientation 6": (lambda: turned(6, "AVIF", quality=95), FLAG, 16),
    "tiff, orientation 5": (lambda: turned(5, "TIFF"), FLAG, 0),
    "png": (lambda: encoded(image_flag(), "PNG"), FLAG, 0),
    "png, RGBA": (lambda: encoded(half_transparent("RGBA"), "PNG"), over_grey(FLAG), 0),
    "png, grey and alpha": (
        lambda: encoded(
            Image.fromarray(np.dstack([GREY[..., 0], 255 * (GREY[..., 0] > 127)]).astype(np.uint8)), "PNG"
        ),
        np.where(GREY > 127, GREY, 128).astype(np.uint8),
        0,
    ),
    "png, palette": (lambda: encoded(image_flag("P"), "PNG"), np.asarray(image_flag("P").convert("RGB")), 0),
    "png, palette with transparency": (lambda: keyed_out("PNG"), without_red(), 0),
    "png, a transparent colour": (lambda: encoded(image_flag(), "PNG", transparency=RED), without_red(), 0),
    "png, 1 bit": (
        lambda: encoded(Image.fromarray(GREY).convert("1", dither=0), "PNG"),
        255 * (GREY > 127),
        0,
    ),
    "png, 16-bit grey": (lambda: cv2_png(sixteen_bits(GREY[..., 0])), GREY, 0),
    "png, 16-bit RGB": (lambda: cv2_png(sixteen_bits(FLAG[..., ::-1])), FLAG, 1),
    "png, animated": (lambda: animation("PNG"), FLAG, 0),
    "png, damaged metadata": (lambda: encoded(image_flag(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff"), FLAG, 0),
    "png, other primaries": (
        lambda: encoded(Image.fromarray(FLAG[..., ::-1].copy()), "PNG", icc_profile=swapped_profile()),
        FLAG,
        14,
    ),
    "png, sRGB profile": (
        lambda: encoded(
            image_flag(),
            "PNG",
            icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        ),
        FLAG,
        0,
    ),
    "png, broken profile": (lambda: encoded(image_flag(), "PNG", icc_profile=b"no profile"), FLAG, 0),
    "png, CMYK profile on RGB": (
        lambda: encoded(image_flag(), "PNG", icc_profile=swapped_profile().replace(b"RGB ", b"CMYK")),
        FLAG,
        0,
    ),
    "gif": (lambda: encoded(image_flag(), "GIF"), FLAG, 2),
    "gif, animated": (lambda: animation("GIF"), FLAG, 2),
    "gif, transparent": (lambda: keyed_out("GIF"), without_red(), 0),
    "webp": (lambda: encoded(image_flag(), "WEBP", lossless=True), FLAG, 0),
    "webp, animated": (lambda: animation("WEBP"), FLAG, 16),
    "webp, RGBA": (lambda: encoded(half_transparent("RGBA"), "WEBP", lossless=True), over_grey(FLAG), 0),
    "avif": (lambda: encoded(image_flag(), "AVIF", quality=95), FLAG, 16),
    "bmp": (lambda: encoded(image_flag(), "BMP"), FLAG, 0),
    "tiff": (lambda: encoded(image_flag(), "TIFF"), FLAG, 0),
    "tiff, LZW": (lambda: encoded(image_flag(), "TIFF", compression="tiff_lzw"), FLAG, 0),
    "tiff, CMYK": (lambda: encoded(image_flag("CMYK"), "TIFF"), FLAG, 1),
    "tiff, JPEG inside": (lambda: encoded(image_flag(), "TIFF", compression="jpeg"), FLAG, 14),
    "tiff, 16 bits": (lambda: encoded(Image.fromarray(sixteen_bits(GREY[..., 0])), "TIFF"), GREY, 0),
    "tiff, 32 bits": (
        lambda: encoded(Image.fromarray(sixteen_bits(GREY[..., 0]).astype(np.int32)), "TIFF"),
        GREY,
        0,
    ),
    "tiff, floats to 1": (
        lambda: encoded(Image.fromarray((GREY[..., 0] / 255).astype(np.float32)), "TIFF"),
        GREY,
        0,
    ),
    "tiff, floats to 255": (
        lambda: encoded(Image.fromarray(GREY[..., 0].astype(np.float32)), "TIFF"),
        GREY,
        0,
    ),
    "jpeg 2000": (lambda: encoded(image_flag(), "JPEG2000"), FLAG, 2),
    "ppm": (lambda: encoded(image_flag(), "PPM"), FLAG, 0),
    "image": (image_flag, FLAG, 0),
    "image, HSV": (lambda: image_flag("HSV"), FLAG, 6),
    "image, premultiplied": (lambda: half_transparent("RGBA").convert("RGBa"), over_grey(FLAG), 0),
    "array": (FLAG.copy, FLAG, 0),
    "array, mirrored view": (lambda: FLAG[:, ::-1][:, ::-1], FLAG, 0),
    "array, grey": (lambda: GREY[..., 0], GREY, 0),
    "array, one channel": (lambda: GREY[..., :1], GREY, 0),
    "array, RGBA": (lambda: np.asarray(half_transparent("RGBA")), over_grey(FLAG), 0),
    "array, 16 bits": (lambda: sixteen_bits(FLAG), FLAG, 0),
    "array, doubles": (lambda: FLAG / 255, FLAG, 0),
    "array, half floats": (lambda: (FLAG / 255).astype(np.float16), FLAG, 1),
    "array, float RGBA": (
        lambda: np.asarray(half_transparent("RGBA")).astype(np.float32) / 255,
        over_grey(FLAG),
        0,
    ),
}


@pytest.mark.parametrize(("make", "expected", "tolerance"), GOOD.values(), ids=GOOD)
def test_reads(make: Callable[[], Any], expected: np.ndarray, tolerance: int) -> None:
    picture = read_photo(make())
    assert picture.dtype == np.uint8
    assert picture.shape == expected.shape
    assert picture.flags.c_contiguous
    # Lossy formats smear the quarters' borders; everything else must fit.
    keep = np.ones(expected.shape[:2], bool)
    if tolerance > 2:
        keep[24:40], keep[:, 40:56] = False, False
    assert np.abs(picture.astype(int) - expected)[keep].max() <= tolerance


def test_alpha_mixes_with_grey() -> None:
    pixels = np.full((20, 20, 4), (255, 0, 0, 64), np.uint8)
    share = 64 / 255
    expected = np.array([255, 0, 0]) * share + 128 * (1 - share)
    assert np.abs(read_photo(pixels) - expected).max() <= 1


def test_result_shares_no_memory() -> None:
    source = FLAG.copy()
    read_photo(source)[:] = 0
    assert (source == FLAG).all()


def test_strips_join_seamlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sapiens_demo.photo._STRIP_PIXELS", 300)
    for orientation in range(1, 9):
        picture = read_photo(turned(orientation, "PNG"))
        assert (picture == FLAG).all()


def cut(content: bytes, share: float = 0.5) -> bytes:
    return content[: int(len(content) * share)]


def noise(width: int = 200, height: int = 160) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_size(width: int, height: int) -> bytes:
    """Return a small PNG file that claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    )


def iso_file(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200)


BAD_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "text": (lambda: "Grüße, this is a letter.\n".encode() * 9, "text file"),
    "html": (lambda: b"<!doctype html><html><body>404</body></html>", "text file"),
    "json": (lambda: b'{"error": "not found"}', "text file"),
    "random bytes": (lambda: np.random.default_rng(1).bytes(5000), "no picture"),
    "zeros": (lambda: bytes(5000), "no picture"),
    "pdf": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "PDF"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "PostScript"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "SVG"),
    "svg with prolog": (lambda: b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<SVG width="9"/>', "SVG"),
    "heic": (lambda: iso_file(b"heic"), "HEIC"),
    "heif": (lambda: iso_file(b"mif1"), "HEIC"),
    "mp4": (lambda: iso_file(b"isom"), "video"),
    "mov": (lambda: iso_file(b"qt  "), "video"),
    "raw": (lambda: iso_file(b"crx "), "raw"),
    "webm": (lambda: b"\x1a\x45\xdf\xa3" + bytes(100), "video"),
    "avi": (lambda: b"RIFF\0\1\0\0AVI LIST" + bytes(100), "video"),
    "wav": (lambda: b"RIFF\0\1\0\0WAVEfmt " + bytes(100), "sound"),
    "zip": (lambda: b"PK\3\4" + bytes(100), "archive"),
    "jpeg xl": (lambda: b"\xff\x0a\xfa\x7f" + bytes(100), "JPEG XL"),
    "psd": (lambda: b"8BPS\0\1" + bytes(100), "Photoshop"),
    "icon": (lambda: encoded(image_flag(), "ICO"), "icon"),
    "tga": (lambda: encoded(image_flag(), "TGA"), "no picture"),
    "jpeg, cut": (lambda: cut(encoded(noise(), "JPEG")), "damaged"),
    "jpeg, head only": (lambda: encoded(noise(), "JPEG")[:30], "damaged"),
    "png, cut": (lambda: cut(encoded(noise(), "PNG")), "damaged"),
    "gif, cut": (lambda: cut(encoded(noise(), "GIF")), "damaged"),
    "webp, cut": (lambda: cut(encoded(noise(), "WEBP")), "damaged"),
    "avif, cut": (lambda: cut(encoded(noise(), "AVIF")), "damaged"),
    "tiff, cut": (lambda: cut(encoded(noise(), "TIFF", compression="tiff_lzw")), "damaged"),
    "bmp, cut": (lambda: cut(encoded(noise(), "BMP")), "damaged"),
    "jpeg 2000, cut": (lambda: cut(encoded(noise(), "JPEG2000"), 0.1), "damaged"),
    "ppm, cut": (lambda: cut(encoded(noise(), "PPM")), "damaged"),
    "png, no data": (lambda: png_of_size(100, 100), "damaged"),
    "png, zero size": (lambda: png_of_size(0, 100), "damaged"),
    "png, flipped bits": (
        lambda: encoded(noise(), "PNG")[:60] + b"\xff" * 40 + encoded(noise(), "PNG")[100:],
        "damaged",
    ),
    "tiff of doubles": (lambda: cv2.imencode(".tiff", np.zeros((40, 40, 3)))[1].tobytes(), "damaged"),
    "one pixel": (lambda: encoded(Image.new("RGB", (1, 1)), "PNG"), "1 x 1 pixels"),
    "a line": (lambda: encoded(Image.new("RGB", (400, 3)), "PNG"), "400 x 3 pixels"),
    "60 megapixels": (lambda: png_of_size(10_000, 6_000), "10000 x 6000 pixels"),
    "144 megapixels": (lambda: png_of_size(12_000, 12_000), "50 megapixels"),
    "225 megapixels": (lambda: png_of_size(15_000, 15_000), "50 megapixels"),
    "4 gigapixels": (lambda: png_of_size(2**16, 2**16), "50 megapixels"),
    "a ribbon": (lambda: png_of_size(40_000, 20), "no side is longer"),
}

BAD_OBJECTS: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: None, "NoneType"),
    "list": (lambda: [[1, 2], [3, 4]], "list"),
    "missing file": (lambda: "no/such/photo.jpg", "no file"),
    "missing Path": (lambda: Path("no/such/photo.jpg"), "no file"),
    "folder": (lambda: str(Path(__file__).parent), "folder"),
    "device": (lambda: "/dev/zero", "ordinary file"),
    "path with a zero byte": (lambda: "a\0b.jpg", "cannot be read"),
    "endless path": (lambda: "x" * 5000, "cannot be read"),
    "file as folder": (lambda: f"{__file__}/photo.jpg", "cannot be read"),
    "image without pixels": (lambda: Image.new("RGB", (0, 0)), "0 x 0"),
    "closed image": (lambda: closed_image(), "damaged"),
    "array without pixels": (lambda: np.zeros((0, 40, 3), np.uint8), "40 x 0"),
    "array of one row": (lambda: np.zeros(100, np.uint8), "shape (100,)"),
    "array of two channels": (lambda: np.zeros((40, 40, 2), np.uint8), "shape (40, 40, 2)"),
    "channels first": (lambda: np.zeros((3, 40, 40), np.uint8), "shape (3, 40, 40)"),
    "batch": (lambda: np.zeros((1, 40, 40, 3), np.uint8), "shape (1, 40, 40, 3)"),
    "array of int64": (lambda: np.zeros((40, 40, 3), np.int64), "int64"),
    "array of bool": (lambda: np.zeros((40, 40), bool), "bool"),
    "array of complex": (lambda: np.zeros((40, 40), complex), "complex"),
    "array of objects": (lambda: np.full((40, 40), None), "object"),
    "floats to 255": (lambda: FLAG.astype(np.float32), "0 to 1"),
    "negative floats": (lambda: np.full((40, 40), -0.5), "0 to 1"),
    "floats with NaN": (lambda: np.full((40, 40), np.nan), "0 to 1"),
    "huge array": (lambda: np.broadcast_to(np.uint8(0), (9000, 9000)), "50 megapixels"),
}


def closed_image() -> Image.Image:
    image = Image.open(BytesIO(encoded(image_flag(), "PNG")))
    image.close()
    return image


def check_sentence(message: str) -> None:
    assert "\n" not in message
    assert message[0].isupper() or message[0] in "/'"
    assert re.findall(r"[.!?](?=\s|$)", message) == ["."], message
    assert len(message) < 400


@pytest.mark.parametrize(("make", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_refuses_file(make: Callable[[], bytes], words: str, tmp_path: Path) -> None:
    content = make()
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for source in (content, path, str(path)):
        with pytest.raises(PhotoError) as caught:
            read_photo(source)
        assert words in str(caught.value)
        check_sentence(str(caught.value))


@pytest.mark.parametrize(("make", "words"), BAD_OBJECTS.values(), ids=BAD_OBJECTS)
def test_refuses_object(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(PhotoError) as caught:
        read_photo(make())
    assert words in str(caught.value)
    check_sentence(str(caught.value))


def test_error_is_for_people() -> None:
    assert issubclass(PhotoError, DemoError)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]), data=st.data())
def test_damage_never_escapes(kind: str, data: st.DataObject) -> None:
    """Whatever bytes are overwritten or cut, there is a picture or a PhotoError."""
    content = bytearray(encoded(image_flag(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    try:
        picture = read_photo(bytes(content))
    except PhotoError as error:
        check_sentence(str(error))
    else:
        assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["tiff, cut", "144 megapixels"])
def test_warnings_become_sentences(name: str) -> None:
    with pytest.raises(PhotoError):
        read_photo(BAD_FILES[name][0]())


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=True)


def test_nothing_reaches_stderr(tmp_path: Path) -> None:
    """Neither PIL's warnings nor those of the C libraries below it."""
    for index, case in enumerate([*BAD_FILES.values(), *GOOD.values()]):
        content = case[0]()
        if isinstance(content, bytes):
            (tmp_path / f"{index:03}").write_bytes(content)
    code = """
import sys
from pathlib import Path
from sapiens_demo.photo import PhotoError, read_photo
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_photo(path)
        print("read")
    except PhotoError:
        print("refused")
"""
    done = run_python(code, str(tmp_path))
    assert done.stderr == ""
    assert done.stdout.count("refused") == len(BAD_FILES)
    assert done.stdout.count("read") > 40


def test_large_photo_takes_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (8000, 6250), RED).save(path, exif=exif)
    code = """
import resource, sys
from sapiens_demo.photo import read_photo
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert read_photo(sys.argv[1]).shape == (8000, 6250, 3)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown / (1024 if sys.platform != "darwin" else 1024**2))
"""
    # 200 MB are PIL's, 150 MB are the result's
    assert float(run_python(code, str(path)).stdout) < 420

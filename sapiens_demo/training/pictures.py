"""Draw an example picture: pieces of people, light and a backdrop become an 8-bit image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sapiens_demo.training.backdrops import Backdrop, Thing, View, out_of_focus
from sapiens_demo.training.lighting import Light, Shade
from sapiens_demo.training.looks import Finish
from sapiens_demo.training.rasterize import rasterize
from sapiens_demo.training.scene import Camera

_SUPERSAMPLING = 2
_COARSE = 1000  # vertices; meshes with fewer are lit at every pixel


@dataclass(frozen=True)
class Shot:
    """Describe a picture.

    Args:
        people: pieces of all people.
        backdrop: the place.
        light: the light.
        camera: the camera; its size is the picture's.
        focus: distance in focus, metres.
        aperture: radius of the blur at infinity, in thousandths of the picture's longer side.
        exposure: factor on all light.
    """

    people: list[Thing]
    backdrop: Backdrop
    light: Light
    camera: Camera
    focus: float
    aperture: float
    exposure: float = 1.0


def draw(shot: Shot) -> np.ndarray:
    """Draw a picture, (H, W, 3) uint8 RGB."""
    things = shot.backdrop.things()
    vertices, faces = _joined(shot.people + things)
    shade = Shade(shot.light, vertices, faces, _in_view(shot))
    view = _with_things(shot.backdrop.view(shot.camera, shade), things, shot.camera, shade)
    longer = max(shot.camera.size)
    behind = out_of_focus(view, shot.focus, shot.aperture * longer / 1000)
    big = enlarged(shot.camera, _SUPERSAMPLING)
    colors, depth = _paint(shot.people, big, shade)
    behind = cv2.resize(behind, big.size[::-1], interpolation=cv2.INTER_LINEAR)
    colors = np.where(np.isfinite(depth)[..., None], colors, behind)
    colors = _tone(colors * shot.exposure)
    return np.round(cv2.resize(colors, shot.camera.size[::-1], interpolation=cv2.INTER_AREA) * 255).astype(
        np.uint8
    )


def enlarged(camera: Camera, times: float) -> Camera:
    """Give a camera more pixels for the same view."""
    height, width = camera.size
    return Camera(
        camera.position, camera.axes, camera.focal * times, (round(height * times), round(width * times))
    )


def _joined(things: list[Thing]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh, _ in things])
    vertices = np.concatenate([mesh.vertices for mesh, _ in things])
    return vertices, np.concatenate(
        [mesh.faces + start for (mesh, _), start in zip(things, starts, strict=False)]
    )


def _in_view(shot: Shot) -> np.ndarray:
    points = np.concatenate([mesh.vertices[np.unique(mesh.faces)] for mesh, _ in shot.people])
    x, y, _ = shot.camera.project(points).T
    height, width = shot.camera.size
    slack = 0.05 * height
    return points[(x > -slack) & (x < width + slack) & (y > -slack) & (y < height + slack)]


def _with_things(view: View, things: list[Thing], camera: Camera, shade: Shade) -> View:
    if not things:
        return view
    big = enlarged(camera, _SUPERSAMPLING)
    colors, depth = _paint(things, big, shade)
    behind = cv2.resize(view.colors, big.size[::-1], interpolation=cv2.INTER_LINEAR)
    far = cv2.resize(view.depth, big.size[::-1], interpolation=cv2.INTER_NEAREST)
    colors = np.where((depth < far)[..., None], colors, behind)
    size = camera.size[::-1]
    near = cv2.resize(np.minimum(depth, far), size, interpolation=cv2.INTER_NEAREST)
    return View(cv2.resize(colors, size, interpolation=cv2.INTER_AREA), near)


def _paint(things: list[Thing], camera: Camera, shade: Shade) -> tuple[np.ndarray, np.ndarray]:
    """Draw things: linear colours (H, W, 3) and depth (H, W), infinite where there is nothing."""
    vertices, faces = _joined(things)
    fragments = rasterize(camera.project(vertices), faces, *camera.size)
    colors = np.zeros((*camera.size, 3), np.float32)
    start = 0
    for mesh, look in things:
        own = (fragments.triangle >= start) & (fragments.triangle < start + len(mesh.faces))
        if own.any():
            corners = mesh.faces[fragments.triangle[own] - start]
            weights = fragments.barycentric[own]
            points, normals, place = (
                np.einsum("nk,nkc->nc", weights, values[corners])
                for values in (mesh.vertices, mesh.normals, mesh.place)
            )
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
            if len(mesh.vertices) < _COARSE:
                around = shade.ambient(points, normals, 0.15)
            else:
                around = np.einsum("nk,nkc->nc", weights, _vertex_ambient(mesh, shade)[corners])
            toward = camera.position - points
            toward /= np.linalg.norm(toward, axis=1, keepdims=True)
            inside = (
                np.einsum("nc,nc->n", normals, toward) < -0.15
            )  # seen from within, as the inside of a sleeve
            normals[inside] *= -1
            colors[own] = _shaded(points, normals, toward, around, look.finish(place), shade)
        start += len(mesh.faces)
    return colors, fragments.depth


def _vertex_ambient(mesh, shade: Shade) -> np.ndarray:
    used = np.unique(mesh.faces)
    ambient = np.zeros((len(mesh.vertices), 3), np.float32)
    ambient[used] = shade.ambient(mesh.vertices[used], mesh.normals[used], 0.15)
    return ambient


def _shaded(points, normals, toward, around, finish: Finish, shade: Shade) -> np.ndarray:
    """Add up what a surface sends to the camera, (N, 3) linear."""
    light = np.asarray(shade.light.way, np.float32) / np.linalg.norm(shade.light.way)
    key = shade.key(points, normals)[:, None] * np.asarray(shade.light.color, np.float32)
    wrap = np.asarray(finish.wrap, np.float32)
    facing = normals @ light
    # A little light creeps around into the shade, reddest on skin (wrapped diffuse, as games do it).
    spread = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1)
    half = light + toward
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    edge = np.clip(1 - np.einsum("nc,nc->n", normals, toward), 0, 1)
    gloss = finish.gloss + (0.25 * np.asarray(finish.gloss) * 4) * edge**5
    peak = np.clip(np.einsum("nc,nc->n", normals, half), 0, 1) ** finish.polish * (finish.polish + 2) / 8
    shine = (gloss * peak * np.clip(facing, 0, 1))[:, None] * key
    rim = (finish.sheen * edge**3)[:, None] * around
    return (
        finish.albedo * (around + spread * key)
        + shine
        + rim
        + 0.6 * np.reshape(gloss, (-1, 1)) * around
        + finish.glow
    ).astype(np.float32)


def _tone(colors: np.ndarray) -> np.ndarray:
    """Turn linear light into sRGB, 0 to 1, with a soft shoulder."""
    white = 3.2
    colors = np.clip(colors, 0, None)
    colors = colors * (1 + colors / white**2) / (1 + colors * 0.62)
    colors = np.clip(colors * 1.25, 0, 1)
    coded = np.where(colors < 0.0031308, colors * 12.92, 1.055 * colors ** (1 / 2.4) - 0.055).astype(
        np.float32
    )
    return coded + 0.08 * (coded - 0.5) * coded * (1 - coded) * 4

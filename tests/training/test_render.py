import numpy as np

from sapiens_demo.training.generate import make_sample
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

CLASS = {part.name: part.id for part in PARTS}
HEAD = [
    CLASS[name]
    for name in (
        "Face_Neck",
        "Hair",
        "Apparel",
        "Lower_Lip",
        "Upper_Lip",
        "Lower_Teeth",
        "Upper_Teeth",
        "Tongue",
    )
]


def _classes_under(sample, person, group):
    """Return the classes under a person's visible keypoints of a group."""
    ids = [keypoint.id for keypoint in KEYPOINTS if keypoint.group == group]
    seen = [i for i in ids if sample.visibility[person][i] == 2]
    places = np.round(sample.keypoints[person][seen]).astype(int)
    own = sample.people[places[:, 1], places[:, 0]] == person + 1
    return sample.parts[places[own, 1], places[own, 0]]


def test_visible_face_points_lie_on_the_head(samples):
    found = np.concatenate([_classes_under(s, p, "face") for s in samples for p in range(len(s.boxes))])
    assert len(found) > 300
    assert np.isin(found, HEAD).mean() > 0.97


def test_visible_hand_points_lie_on_their_own_hand(samples):
    for side in ("Left", "Right"):
        found = np.concatenate(
            [_classes_under(s, p, f"{side.lower()}_hand") for s in samples for p in range(len(s.boxes))]
        )
        allowed = [
            CLASS[f"{side}_Hand"],
            CLASS[f"{side}_Lower_Arm"],
            CLASS["Upper_Clothing"],
            CLASS["Apparel"],
        ]
        assert len(found) > 30
        assert np.isin(found, allowed).mean() > 0.9
        assert (found == CLASS[f"{'Right' if side == 'Left' else 'Left'}_Hand"]).mean() < 0.05


def test_normals_equal_those_of_the_depth(scenes):
    angles = []
    for scene, sample in scenes:
        if not len(sample.boxes):
            continue
        angles.append(_angles_between_normals_and_depth(sample, scene.camera.focal))
    assert np.median(np.concatenate(angles)) < 5


def _angles_between_normals_and_depth(sample, focal):
    height, width = sample.depth.shape
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    depth = sample.depth.astype(np.float64)
    points = np.stack(
        [x * depth / focal, -y * depth / focal, -depth], axis=-1
    )  # x right, y up, z to the viewer
    across = points[1:-1, 2:] - points[1:-1, :-2]
    up = points[:-2, 1:-1] - points[2:, 1:-1]
    derived = np.cross(across, up)
    derived /= np.maximum(np.linalg.norm(derived, axis=2, keepdims=True), 1e-12)
    middle = sample.normals[1:-1, 1:-1]
    steps = np.maximum(np.linalg.norm(across, axis=2), np.linalg.norm(up, axis=2))
    smooth = (depth[1:-1, 1:-1] > 0) & (steps < 8 * depth[1:-1, 1:-1] / focal) & (middle[..., 2] > 0.3)
    for part in ((slice(2, None), slice(1, -1)), (slice(None, -2), slice(1, -1))):
        smooth &= sample.parts[part] == sample.parts[1:-1, 1:-1]
    cosine = (derived * middle).sum(2)[smooth]
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_labels_are_there_exactly_where_people_are(samples):
    for sample in samples:
        person = sample.people > 0
        assert ((sample.depth > 0) == person).all()
        assert (sample.parts[~person] == 0).all()
        assert np.abs(np.linalg.norm(sample.normals[person], axis=1) - 1).max() < 1e-3


def test_a_picture_is_made_again_from_its_seed():
    first, second = make_sample(3, 1, []), make_sample(3, 1, [])
    assert (first.image == second.image).all()
    assert (first.keypoints == second.keypoints).all()

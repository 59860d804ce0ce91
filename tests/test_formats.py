"""Files for other tools: whose point is whose, and whether those tools' own readers agree."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sapiens_demo.boxes import People
from sapiens_demo.catalog import FORMATS
from sapiens_demo.estimator import Estimate, Report
from sapiens_demo.export import ExportError, write_format
from sapiens_demo.formats import (
    BODY_25,
    FACE_70,
    MISSING_WHOLEBODY,
    NEAR_WHOLEBODY,
    WHOLEBODY,
    Counterpart,
    number_people,
    person_masks,
    place_points,
    to_coco,
    to_openpose,
    to_wholebody,
)
from sapiens_demo.models import ModelInfo
from sapiens_demo.tasks.pose import Person, PoseResult
from sapiens_demo.tasks.segmentation import SegmentationResult
from sapiens_demo.training.body import PosedBody, load_body
from sapiens_demo.training.scene import keypoint_positions
from sapiens_demo.vocabulary import COCO_BODY_IDS, KEYPOINTS

HEIGHT, WIDTH = 120, 90
IDS = {point.name: point.id for point in KEYPOINTS}
SWAP = np.array([point.swap_id for point in KEYPOINTS])

# ---- The other schemes, as they are published --------------------------------------------------------------

NAMES = {
    "coco": """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow
        left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle""",
    "feet": "left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel",
    "body 25": """Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip
        LKnee LAnkle REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel""",
}
COCO_17, FEET, BODY_25_NAMES = (text.split() for text in NAMES.values())
FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")


def hand(side: str) -> list[str]:
    joints = [f"{side}_{finger}{joint}" for finger in FINGERS for joint in (1, 2, 3, 4)]
    return [f"{side}_hand_root", *joints]


WHOLEBODY_133 = [*COCO_17, *FEET, *(f"face-{number}" for number in range(68)), *hand("left"), *hand("right")]

# Where the 68 points of a face change places in a mirror: first and last of runs that turn round.
FACE_RUNS = ((0, 16), (17, 26), (31, 35), (48, 54), (55, 59), (60, 64), (65, 67))
FACE_PAIRS = {36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46}


def mirrored_face(number: int) -> int:
    for first, last in FACE_RUNS:
        if first <= number <= last:
            return first + last - number
    pairs = FACE_PAIRS | {right: left for left, right in FACE_PAIRS.items()} | {68: 69, 69: 68}
    return pairs.get(number, number)


def mirrored_name(name: str) -> str:
    if name.startswith("face-"):
        return f"face-{mirrored_face(int(name[5:]))}"
    if name[:1] in "LR" and name[1:2].isupper():  # OpenPose
        return {"L": "R", "R": "L"}[name[0]] + name[1:]
    side, rest = name.partition("_")[::2]
    return {"left": "right", "right": "left"}.get(side, side) + (f"_{rest}" if rest else "")


SCHEMES = {"wholebody": WHOLEBODY, "body 25": BODY_25, "face 70": FACE_70}


def sources(point: Counterpart) -> list[str]:
    return [KEYPOINTS[id].name for id in point.sources]


# ---- Tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "names"),
    [
        (WHOLEBODY, WHOLEBODY_133),
        (BODY_25, BODY_25_NAMES),
        (FACE_70, [f"face-{number}" for number in range(70)]),
    ],
    ids=["wholebody", "body 25", "face 70"],
)
def test_points_come_in_the_published_order(points: tuple[Counterpart, ...], names: list[str]) -> None:
    assert [point.name for point in points] == names


def test_body_and_feet_have_their_own_names_among_the_308() -> None:
    assert [point.sources for point in WHOLEBODY[:17]] == [(id,) for id in COCO_BODY_IDS]
    assert all(sources(point) == [point.name] and point.match == "exact" for point in WHOLEBODY[:23])


@pytest.mark.parametrize("point", WHOLEBODY[91:], ids=lambda point: point.name)
def test_fingers_run_from_the_knuckle_to_the_tip(point: Counterpart) -> None:
    side, _, joint = point.name.partition("_")
    if joint == "hand_root":
        assert (sources(point), point.match) == ([f"{side}_wrist"], "near")
    else:
        own = point.name[:-1] + "_third_joint" if point.name.endswith("1") else point.name
        assert (sources(point), point.match) == ([own], "exact")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("Neck", ["left_shoulder", "right_shoulder"]),
        ("MidHip", ["left_hip", "right_hip"]),
        ("RWrist", ["right_wrist"]),
        ("LWrist", ["left_wrist"]),
        ("LBigToe", ["left_big_toe"]),
        ("RSmallToe", ["right_small_toe"]),
        ("REar", ["right_ear"]),
    ],
)
def test_body_25(name: str, own: list[str]) -> None:
    assert sources(BODY_25[BODY_25_NAMES.index(name)]) == own


def test_only_the_jaw_line_is_missing() -> None:
    assert list(MISSING_WHOLEBODY) == [f"face-{number}" for number in range(17) if number != 8]
    assert {point.name for point in WHOLEBODY if not point.sources} == set(MISSING_WHOLEBODY)
    assert not any(point.match == "missing" for point in BODY_25)


def test_what_is_only_near_is_said() -> None:
    # A mean of several points, or a point under another name, is never passed off as the same place.
    several = {point.name for point in WHOLEBODY if len(point.sources) > 1}
    assert several < set(NEAR_WHOLEBODY)
    assert {"left_hand_root", "right_hand_root", "face-8", "face-27"} < set(NEAR_WHOLEBODY)
    exact = {point.name: sources(point) for point in WHOLEBODY[23:91] if point.match == "exact"}
    assert exact == {
        "face-30": ["tip_of_nose"],
        "face-33": ["bottom_center_of_nose"],
        "face-48": ["r_outer_corner_of_mouth"],
        "face-51": ["center_of_cupid_bow"],
        "face-54": ["l_outer_corner_of_mouth"],
        "face-57": ["center_of_lower_outer_lip"],
        "face-60": ["r_inner_corner_of_mouth"],
        "face-62": ["center_of_upper_inner_lip"],
        "face-64": ["l_inner_corner_of_mouth"],
        "face-66": ["center_of_lower_inner_lip"],
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mirrored_point_has_the_mirrored_sources(scheme: str) -> None:
    points = {point.name: point for point in SCHEMES[scheme]}
    for point in points.values():
        twin = points[mirrored_name(point.name)]
        assert {KEYPOINTS[id].swap_id for id in point.sources} == set(twin.sources), point.name
        assert point.match == twin.match


# ---- On a body ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing() -> Person:
    """A body made by computer, seen from the front, a millimetre a pixel."""
    body = load_body()
    turns = np.tile(np.eye(3, dtype=np.float32), (len(body.bones), 1, 1))
    places = keypoint_positions(body, PosedBody(body.mean, body.bones_mean, turns, body.mean))
    keypoints = np.stack([1000 + 1000 * places[:, 0], 1500 - 1000 * places[:, 2]], axis=1)
    box = np.array([0, 0, 2000, 3000], np.float32)
    return Person(box, keypoints.astype(np.float32), np.ones(len(KEYPOINTS), np.float32))


@pytest.fixture(scope="module")
def face(standing: Person) -> np.ndarray:
    return place_points(standing, FACE_70, (3000, 2000))[:, :2]


# Runs of the face's points that go to the right in a picture of it; the right eyebrow is on the left there.
RIGHTWARD = [
    list(range(17, 27)),
    list(range(31, 36)),
    [36, 37, 38, 39, 42, 43, 44, 45],
    [36, 41, 40, 39, 42, 47, 46, 45],
    list(range(48, 55)),
    [48, 59, 58, 57, 56, 55, 54],
    list(range(60, 65)),
    [60, 67, 66, 65, 64],
    [36, 68, 39, 42, 69, 45],
]
DOWNWARD = [
    [27, 28, 29, 30, 33, 51, 62, 66, 57, 8],
    *([upper, lower] for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46))),
    *([upper, lower] for upper, lower in ((49, 59), (50, 58), (52, 56), (53, 55), (61, 67), (63, 65))),
    [19, 37, 31, 48],
    [24, 44, 35, 54],
]


@pytest.mark.parametrize("run", RIGHTWARD, ids=str)
def test_a_face_from_the_front_runs_to_the_right(face: np.ndarray, run: list[int]) -> None:
    assert (np.diff(face[run, 0]) > 0).all()


@pytest.mark.parametrize("run", DOWNWARD, ids=str)
def test_a_face_from_the_front_runs_down(face: np.ndarray, run: list[int]) -> None:
    assert (np.diff(face[run, 1]) > 0).all()


def test_neck_and_hip_lie_halfway(standing: Person) -> None:
    rows = dict(zip(BODY_25_NAMES, place_points(standing, BODY_25, (3000, 2000)), strict=True))
    for middle, left, right in (("Neck", "LShoulder", "RShoulder"), ("MidHip", "LHip", "RHip")):
        assert rows[middle][:2] == pytest.approx((rows[left][:2] + rows[right][:2]) / 2, abs=1e-3)


# ---- Visibility --------------------------------------------------------------------------------------------


def person(
    places: np.ndarray | None = None, scores: np.ndarray | None = None, box: Any = (10, 20, 70, 100)
) -> Person:
    generator = np.random.default_rng(1)
    places = generator.uniform((10, 20), (70, 100), (308, 2)) if places is None else places
    scores = np.full(308, 0.8) if scores is None else scores
    return Person(np.float32(box), np.asarray(places, np.float32), np.asarray(scores, np.float32))


def estimate_of(*people: Person, found: bool = True) -> Estimate:
    info = ModelInfo("pose", "1b", "cpu", "CPU", "float32", False, "pose.safetensors", "CC BY-NC 4.0")
    report = Report("pose", "1b", "Sapiens 1B", info, {"forward": 1.0})
    boxes = People.nobody()
    if found and people:
        scores = np.full(len(people), 0.9, np.float32)
        boxes = People(np.array([one.box for one in people]), scores, "detector")
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Estimate(photo, PoseResult((HEIGHT, WIDTH), people), report, boxes)


def with_point(name: str, x: float, y: float, score: float) -> Person:
    one = person()
    one.keypoints[IDS[name]], one.scores[IDS[name]] = (x, y), score
    return one


@pytest.mark.parametrize(
    ("x", "y", "score", "threshold", "expected"),
    [
        (40, 50, 0.3, 0.3, (40, 50, 2)),
        (40, 50, 0.299, 0.3, (0, 0, 0)),
        (40, 50, 0.299, 0.2, (40, 50, 2)),
        (40, 50, 0.6, 0.7, (0, 0, 0)),
        (40, 50, 1.4, 0.3, (40, 50, 2)),
        (40, 50, 0.0, 0.0, (0, 0, 0)),  # nothing was found at all
        (40, 50, -0.1, 0.0, (0, 0, 0)),
        (0, 0, 0.5, 0.3, (0, 0, 2)),  # the corner is a place like any other
        (-0.5, 119.5, 0.9, 0.3, (0, 119, 2)),  # on the outermost pixels
        (-0.6, 50, 0.9, 0.3, (0, 0, 0)),
        (40, 119.6, 0.9, 0.3, (0, 0, 0)),
    ],
)
def test_a_point_is_seen_or_all_zero(
    x: float, y: float, score: float, threshold: float, expected: tuple[float, float, int]
) -> None:
    estimate = estimate_of(with_point("left_wrist", x, y, score))
    place = 3 * COCO_17.index("left_wrist")
    for document in (to_coco(estimate, "a.jpg", threshold), to_wholebody(estimate, "a.jpg", threshold)):
        annotation = document["annotations"][0]
        assert tuple(annotation["keypoints"][place : place + 3]) == expected
        others = 16 if threshold <= 0.8 else 0
        assert annotation["num_keypoints"] == others + (expected[2] > 0)
        assert document["info"]["threshold"] == threshold


def test_a_mean_is_as_sure_as_its_least_sure_source() -> None:
    one = with_point("left_shoulder", 40, 50, 0.31)
    neck = BODY_25_NAMES.index("Neck")
    assert place_points(one, BODY_25, (HEIGHT, WIDTH))[neck, 2] == pytest.approx(0.31)
    one.scores[IDS["right_shoulder"]] = 0.29
    assert not place_points(one, BODY_25, (HEIGHT, WIDTH))[neck].any()


WRITERS = {"coco": to_coco, "wholebody": to_wholebody, "openpose": to_openpose}


@pytest.mark.parametrize("name", WRITERS)
def test_who_is_not_seen_is_left_out_and_the_others_keep_their_numbers(name: str) -> None:
    unseen = person(scores=np.full(308, 0.1))
    document = WRITERS[name](estimate_of(unseen, person()), "a.jpg")
    if name == "openpose":
        assert len(document["people"]) == 1
    else:
        assert [annotation["id"] for annotation in document["annotations"]] == [2]


@pytest.mark.parametrize("name", WRITERS)
def test_nobody_at_all_is_an_empty_list(name: str) -> None:
    document = WRITERS[name](estimate_of(), "a.jpg")
    assert document["people" if name == "openpose" else "annotations"] == []


@pytest.mark.parametrize("name", WRITERS)
def test_every_file_says_what_it_is(name: str) -> None:
    document = WRITERS[name](estimate_of(person()), "a.jpg")
    info = document["info"]
    assert info["model"] == {"title": "Sapiens 1B", "file": "pose.safetensors", "license": "CC BY-NC 4.0"}
    assert info["people_finder"] == "detector"
    assert info["missing_keypoints"] == ([] if name == "coco" else list(MISSING_WHOLEBODY))
    assert set(info["near_keypoints"]) == (set() if name == "coco" else set(NEAR_WHOLEBODY))
    assert WRITERS[name](estimate_of(person(), found=False), "a.jpg")["info"]["people_finder"] is None
    assert json.loads(json.dumps(document, allow_nan=False)) == document


# ---- COCO and COCO-WholeBody -------------------------------------------------------------------------------


def people_of_many_kinds() -> Estimate:
    generator = np.random.default_rng(5)
    boxes = ((0, 0, 45.5, 120), (40, 10.25, 90, 119.5), (-3, 20, 99, 60))
    return estimate_of(
        *(
            person(generator.uniform(-5, 125, (308, 2)), generator.uniform(-0.1, 1.2, 308), box)
            for box in boxes
        )
    )


def load(document: dict[str, Any], path: Path) -> COCO:
    path.write_text(json.dumps(document), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize("name", ["coco", "wholebody"])
def test_pycocotools_reads_the_file(name: str, tmp_path: Path) -> None:
    file = load(WRITERS[name](people_of_many_kinds(), "ann.jpg"), tmp_path / "a.json")
    (image,) = file.loadImgs(file.getImgIds())
    assert (image["file_name"], image["width"], image["height"]) == ("ann.jpg", WIDTH, HEIGHT)
    (category,) = file.loadCats(file.getCatIds(catNms=["person"]))
    assert category["keypoints"] == COCO_17
    assert {end for pair in category["skeleton"] for end in pair} == set(range(1, 18))
    annotations = file.loadAnns(file.getAnnIds(imgIds=[image["id"]], catIds=[category["id"]], iscrowd=False))
    assert len(annotations) == 3
    for annotation in annotations:
        rows = np.reshape(annotation["keypoints"], (17, 3))
        assert annotation["num_keypoints"] == (rows[:, 2] > 0).sum()
        assert set(rows[:, 2]) <= {0, 2} and not rows[rows[:, 2] == 0].any()
        x, y, width, height = annotation["bbox"]
        assert x >= 0 and y >= 0 and x + width <= WIDTH and y + height <= HEIGHT
        assert annotation["area"] == pytest.approx(width * height, abs=0.01) and annotation["area"] > 0
        assert 0 < annotation["score"] <= 1


@pytest.mark.parametrize("name", ["coco", "wholebody"])
def test_pycocotools_finds_a_file_equal_to_itself(name: str, tmp_path: Path) -> None:
    document = WRITERS[name](estimate_of(person(), person(box=(0, 0, 90, 120))), "ann.jpg")
    truth = load(document, tmp_path / "a.json")
    keys = ("image_id", "category_id", "keypoints", "score")
    answers = [{key: annotation[key] for key in keys} for annotation in document["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        measure = COCOeval(truth, truth.loadRes(answers), "keypoints")
        measure.evaluate()
        measure.accumulate()
        measure.summarize()
    assert measure.stats[0] == pytest.approx(1)


def test_wholebody_has_the_data_sets_own_fields() -> None:
    scores = np.full(308, 0.8)
    scores[[point.id for point in KEYPOINTS if point.group == "right_hand"]] = 0.1
    scores[IDS["right_wrist"]] = 0.1
    document = to_wholebody(estimate_of(person(scores=scores)), "a.jpg")
    (annotation,) = document["annotations"]
    sizes = {"foot": 6, "face": 68, "lefthand": 21, "righthand": 21}
    for group, count in sizes.items():
        rows = np.reshape(annotation[f"{group}_kpts"], (count, 3))
        assert annotation[f"{group}_valid"] is bool(group != "righthand")
        assert len(document["categories"][0][f"{group}_kpts"]) == count
        if group != "foot":
            x, y, width, height = annotation[f"{group}_box"]
            seen = rows[rows[:, 2] > 0]
            edges = [*seen[:, :2].min(0), *seen[:, :2].max(0)] if len(seen) else [0, 0, 0, 0]
            assert [x, y, x + width, y + height] == pytest.approx(edges, abs=0.011)
    assert "foot_box" not in annotation
    names = document["categories"][0]
    order = [name for key in ("keypoints", *(f"{group}_kpts" for group in sizes)) for name in names[key]]
    assert order == WHOLEBODY_133


# ---- OpenPose ----------------------------------------------------------------------------------------------


def test_openpose_has_openposes_fields() -> None:
    document = to_openpose(people_of_many_kinds(), "a.jpg")
    assert document["version"] == 1.3 and len(document["people"]) == 3
    lengths = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
    for somebody in document["people"]:
        assert somebody["person_id"] == [-1]
        for part, count in lengths.items():
            rows = np.reshape(somebody[f"{part}_keypoints_2d"], (count, 3))
            assert (rows[:, 2] <= 1).all() and not rows[rows[:, 2] == 0].any()
            assert (rows[rows[:, 2] > 0, 2] >= 0.3).all()
            assert somebody[f"{part}_keypoints_3d"] == []
        assert set(somebody) == {"person_id"} | {f"{part}_keypoints_{n}d" for part in lengths for n in (2, 3)}


@pytest.mark.parametrize(
    ("field", "place", "source"),
    [
        ("pose", 4, "right_wrist"),
        ("pose", 7, "left_wrist"),
        ("pose", 11, "right_ankle"),
        ("pose", 19, "left_big_toe"),
        ("face", 30, "tip_of_nose"),
        ("face", 68, "r_center_of_pupil"),
        ("face", 69, "l_center_of_pupil"),
        ("hand_left", 0, "left_wrist"),
        ("hand_left", 4, "left_thumb4"),
        ("hand_left", 5, "left_forefinger_third_joint"),
        ("hand_right", 0, "right_wrist"),
        ("hand_right", 20, "right_pinky_finger4"),
    ],
)
def test_openpose_points_lie_where_they_should(field: str, place: int, source: str) -> None:
    (somebody,) = to_openpose(estimate_of(with_point(source, 33.25, 44.5, 0.625)), "a.jpg")["people"]
    assert somebody[f"{field}_keypoints_2d"][3 * place : 3 * place + 3] == [33.25, 44.5, 0.625]


# ---- A mirrored photo --------------------------------------------------------------------------------------


def mirror(one: Person) -> Person:
    keypoints = one.keypoints[SWAP] * np.float32([-1, 1]) + np.float32([WIDTH - 1, 0])
    x1, y1, x2, y2 = one.box
    return Person(np.float32([WIDTH - x2, y1, WIDTH - x1, y2]), keypoints, one.scores[SWAP])


def named_points(document: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return the points of a file's only person by their names."""
    if "people" in document:
        names = {
            "pose_keypoints_2d": BODY_25_NAMES,
            "face_keypoints_2d": [f"face-{number}" for number in range(70)],
            "hand_left_keypoints_2d": hand("left"),
            "hand_right_keypoints_2d": hand("right"),
        }
        fields = document["people"][0]
    else:
        names, fields = document["categories"][0], document["annotations"][0]
        names = {key: names[key] for key in names if key == "keypoints" or key.endswith("_kpts")}
    return {
        name: tuple(row)
        for key, own in names.items()
        for name, row in zip(own, np.reshape(fields[key], (-1, 3)).tolist(), strict=True)
    }


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reach=st.sampled_from([0.3, 1.0, 1.3]))
def test_a_mirrored_person_swaps_left_and_right(name: str, seed: int, reach: float) -> None:
    generator = np.random.default_rng(seed)
    middle = np.array([WIDTH, HEIGHT]) / 2
    # On a grid of quarter pixels no rounding decides what lies inside the photo.
    places = np.round(4 * (middle + generator.uniform(-reach, reach, (308, 2)) * middle)) / 4
    one = person(places, generator.uniform(0, 1.2, 308))
    own = named_points(WRITERS[name](estimate_of(one), "a.jpg"))
    twin = named_points(WRITERS[name](estimate_of(mirror(one)), "a.jpg"))
    assert set(own) == set(twin)
    for key, (x, y, sure) in own.items():
        expected = (WIDTH - 1 - x, y, sure) if sure else (0, 0, 0)
        assert twin[mirrored_name(key)] == pytest.approx(expected, abs=0.011), key


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0, 1))
def test_missing_points_are_zero_whatever_the_scores(seed: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    one = person(generator.uniform(0, 80, (308, 2)), generator.uniform(0.9, 1.5, 308))
    points = named_points(to_wholebody(estimate_of(one), "a.jpg", min(threshold, 0.9)))
    assert {key for key, row in points.items() if row == (0, 0, 0)} == set(MISSING_WHOLEBODY)


# ---- Masks of people ---------------------------------------------------------------------------------------


def two_people(width: int = 200, gap: int = 60) -> np.ndarray:
    """Label two figures of head and trunk, the left one larger."""
    labels = np.zeros((160, width), np.uint8)
    for x, size in ((width // 2 - gap, 24), (width // 2 + gap, 20)):
        cv2.rectangle(labels, (x - size, 60), (x + size, 60 + 4 * size), 22, cv2.FILLED)
        cv2.circle(labels, (x, 40), size - 4, 2, cv2.FILLED)
    return labels


def test_owners_that_are_known_are_taken() -> None:
    labels = two_people()
    owners = (labels > 0) * np.uint8(7)
    assert number_people(SegmentationResult(labels, owners)) is owners


@pytest.mark.parametrize("scale", [1, 5])
def test_people_of_a_whole_photo_are_told_apart(scale: int) -> None:
    labels = two_people().repeat(scale, 0).repeat(scale, 1)
    numbers = number_people(SegmentationResult(labels))
    half = labels.shape[1] // 2
    assert numbers.dtype == np.uint8 and np.array_equal(numbers > 0, labels > 0)
    assert set(np.unique(numbers[:, :half])) == {0, 1} and set(np.unique(numbers[:, half:])) == {0, 2}


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (160, 200)])
def test_without_people_there_is_nobody(size: tuple[int, int]) -> None:
    assert not number_people(SegmentationResult(np.zeros(size, np.uint8))).any()


@pytest.mark.parametrize(
    ("boxes", "x", "owner"),
    [
        ([], 10, 0),
        ([(0, 0, 20, 40)], 10, 1),
        ([(0, 0, 20, 40)], 21, 1),  # a little outside: within 1.25 half widths of the centre
        ([(0, 0, 20, 40)], 22, 0),
        ([(0, 0, 20, 40), (30, 0, 60, 40)], 32, 2),
        ([(0, 0, 40, 40), (20, 0, 60, 40)], 29, 1),  # in both: nearer to the middle of the first
        ([(0, 0, 40, 40), (20, 0, 60, 40)], 30, 2),
        ([(0, 0, 60, 40), (8, 10, 16, 30)], 12, 2),  # a child in front of a grown-up
        ([(5, 5, 5, 5)], 5, 0),  # no width: about one pixel
    ],
)
def test_a_pixel_goes_to_the_box_it_lies_deepest_in(boxes: list[Any], x: int, owner: int) -> None:
    labels = np.full((40, 60), 22, np.uint8)
    assert person_masks(labels, np.array(boxes, np.float32))[20, x] == owner


def test_only_people_have_owners_and_strips_leave_no_seam() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (700, 50)).astype(np.uint8)
    boxes = np.float32([(0, 0, 25, 700), (25, 100, 50, 650)])
    numbers = person_masks(labels, boxes)
    assert not numbers[labels == 0].any()
    for y in (0, 255, 256, 511, 512, 699):
        assert np.array_equal(numbers[y : y + 1, :12], np.where(labels[y : y + 1, :12] > 0, 1, 0))
    assert np.array_equal(numbers[300, 30:], np.where(labels[300, 30:] > 0, 2, 0))


# ---- Files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_documents_are_written_under_their_names(name: str, tmp_path: Path) -> None:
    estimate = people_of_many_kinds()
    path = write_format(estimate, name, tmp_path / "new", "ann-2", "ann.jpg", 0.5)
    assert path == tmp_path / "new" / f"ann-2_pose_{name}.json"
    assert json.loads(path.read_text(encoding="utf-8")) == WRITERS[name](estimate, "ann.jpg", 0.5)


def test_masks_are_written_as_person_numbers(tmp_path: Path) -> None:
    labels = two_people()
    info = estimate_of().report.info
    report = Report("segmentation", "1b", "Sapiens 1B", info, {})
    photo = np.zeros((*labels.shape, 3), np.uint8)
    estimate = Estimate(photo, SegmentationResult(labels), report)
    path = write_format(estimate, "people", tmp_path, "ann", "ann.jpg")
    assert path.name == "ann_segmentation_people.png"
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint8 and np.array_equal(picture, number_people(estimate.result))


def test_every_format_can_be_written() -> None:
    assert set(FORMATS) == {*WRITERS, "people"}
    assert {FORMATS[name] for name in WRITERS} == {"pose"} and FORMATS["people"] == "segmentation"


def test_a_stem_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be part of a file's name"):
        write_format(estimate_of(person()), "coco", tmp_path, "../a", "a.jpg")

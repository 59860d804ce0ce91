"""Pictures: equal to the official ones where they should be, and right where those are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sapiens_demo.drawing import (
    NEUTRAL,
    DepthDrawing,
    DepthNormalsDrawing,
    NormalDrawing,
    PoseDrawing,
    SegmentationDrawing,
    blend,
    depth_color_bar,
    legend,
    normal_sphere,
    shrink_for_display,
    shrink_result,
)
from sapiens_demo.tasks.depth import DepthResult, normals_from_depth
from sapiens_demo.tasks.normal import NormalResult
from sapiens_demo.tasks.pose import Person, PoseResult
from sapiens_demo.tasks.segmentation import SegmentationResult
from sapiens_demo.vocabulary import KEYPOINTS, PARTS, SKELETON

GREY = 90
LEFT_WRIST, LEFT_SHOULDER, LEFT_ELBOW = 62, 5, 7


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    """Return inputs and pictures of the official visualisers, the pictures as RGB."""
    with np.load(Path(__file__).parent / "fixtures" / "visualisers_depth_normal.npz") as file:
        width = file["mask"].shape[1]
        return {
            "photo": np.ascontiguousarray(file["image_bgr"][..., ::-1]),
            "mask": file["mask"],
            "depth": file["depth_saved"],
            "depth_picture": file["depth_vis_bgr"][:, width : 2 * width, ::-1],
            "normals": file["normal_saved"],
            "normal_picture": file["normal_vis_bgr"][:, width:, ::-1],
        }


def grey_photo(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def make_person(places: dict[int, tuple[float, float]], score: float = 0.9) -> Person:
    """Return a person of whom only some points are seen."""
    keypoints, scores = np.zeros((308, 2), np.float32), np.zeros(308, np.float32)
    for point, place in places.items():
        keypoints[point], scores[point] = place, score
    return Person(np.float32([0, 0, 10, 10]), keypoints, scores)


def make_body(size: float, corner: tuple[float, float] = (0.0, 0.0)) -> Person:
    """Return a person whose 308 points are strewn over a square."""
    keypoints = np.random.default_rng(5).uniform(0, size, (308, 2)) + corner
    return Person(np.zeros(4, np.float32), keypoints.astype(np.float32), np.full(308, 0.9, np.float32))


def centroid(weight: np.ndarray) -> list[float]:
    """Return x and y of an (H, W) picture's centre of brightness."""
    weight = weight.astype(float)
    return [float((w * np.arange(len(w))).sum() / w.sum()) for w in (weight.sum(axis=0), weight.sum(axis=1))]


def changed(picture: np.ndarray, photo: np.ndarray) -> np.ndarray:
    return (picture != photo).any(axis=2)


# ---- Parity with the official pictures --------------------------------------------------------------------


def test_depth_picture_equals_the_official_one(official):
    drawing = DepthDrawing(percentiles=(0, 100), background=(100, 100, 100))
    picture = drawing(official["photo"], DepthResult(official["depth"], official["mask"]))
    assert np.array_equal(picture, official["depth_picture"])


def test_normal_picture_equals_the_official_one(official):
    drawing = NormalDrawing(background=(0, 0, 0))
    picture = drawing(official["photo"], NormalResult(official["normals"], official["mask"]))
    assert np.array_equal(picture, official["normal_picture"])


# ---- Pose -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(30.0, 30.0), (30.25, 29.5), (29.6, 30.9)])
@pytest.mark.parametrize("point", [LEFT_WRIST, 45, 200], ids=["body", "hand", "face"])
def test_points_are_drawn_at_their_place_to_a_fraction_of_a_pixel(point, place):
    photo = np.zeros((60, 60, 3), np.uint8)
    person = make_person({point: place})
    picture = PoseDrawing(radius=4)(photo, PoseResult((60, 60), (person,)))
    assert centroid(picture.max(axis=2)) == pytest.approx(place, abs=0.08)


@pytest.mark.parametrize("point", [0, LEFT_WRIST, 45, 24, 15, 191, 230, 300])
def test_points_have_their_official_colours(point):
    photo = grey_photo(80, 80)
    picture = PoseDrawing(radius=9)(photo, PoseResult((80, 80), (make_person({point: (40, 40)}),)))
    assert tuple(picture[40, 40]) == KEYPOINTS[point].color


@pytest.mark.parametrize("link", SKELETON, ids=lambda link: f"{link.start}-{link.end}")
def test_links_have_their_official_colours(link):
    photo = grey_photo(200, 200)
    person = make_person({link.start: (40, 100), link.end: (160, 100)})
    picture = PoseDrawing(radius=8)(photo, PoseResult((200, 200), (person,)))
    assert tuple(picture[100, 100]) == link.color


@pytest.mark.parametrize(
    ("score", "threshold", "drawn"),
    [(0.9, 0.3, True), (0.3, 0.3, True), (0.29, 0.3, False), (0.0, 0.0, False), (-0.2, -1.0, False)],
)
def test_only_points_above_the_threshold_are_drawn(score, threshold, drawn):
    photo = grey_photo(60, 60)
    person = make_person({LEFT_SHOULDER: (20, 20), LEFT_ELBOW: (40, 40)}, score=np.float32(score))
    picture = PoseDrawing(threshold=float(np.float32(threshold)))(photo, PoseResult((60, 60), (person,)))
    assert changed(picture, photo).any() == drawn


def test_a_link_needs_both_ends():
    photo = grey_photo(100, 100)
    person = make_person({LEFT_SHOULDER: (20, 20), LEFT_ELBOW: (80, 80)})
    person.scores[LEFT_ELBOW] = 0.1
    picture = PoseDrawing()(photo, PoseResult((100, 100), (person,)))
    assert not changed(picture, photo)[40:, 40:].any()


def test_drawing_changes_nothing_away_from_the_person_and_never_the_photo():
    photo = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    before = photo.copy()
    picture = PoseDrawing()(photo, PoseResult((300, 400), (make_body(100, (50, 60)),)))
    touched = np.argwhere(changed(picture, photo))
    assert np.array_equal(photo, before)
    assert touched.min(axis=0).tolist() >= [50, 40] and touched.max(axis=0).tolist() <= [170, 160]


def test_strokes_grow_with_the_person():
    shares = []
    for size in (150, 300, 600, 1200):
        photo = grey_photo(size + 40, size + 40)
        places = {LEFT_SHOULDER: (20, 20), LEFT_ELBOW: (20 + size, 20 + size)}
        picture = PoseDrawing()(photo, PoseResult(photo.shape[:2], (make_person(places),)))
        shares.append(changed(picture, photo).mean())
    assert max(shares[1:]) / min(shares[1:]) < 1.4  # the same share of the picture at every size...
    assert shares[0] < 2.5 * shares[1]  # ...but for the smallest, whose strokes would become too thin


def test_strokes_of_a_small_person_are_finer_in_the_same_photo():
    photo, widths = grey_photo(1500, 1500), []
    for size in (300, 1200):
        person = make_person({LEFT_SHOULDER: (100, 100), LEFT_ELBOW: (100 + size, 100)})
        picture = PoseDrawing()(photo, PoseResult((1500, 1500), (person,)))
        widths.append(changed(picture, photo)[:, 100 + size // 2].sum())
    assert 0 < 1.5 * widths[0] < widths[1]


def test_hands_are_finer_than_the_body_and_the_face_finer_than_hands():
    places = {LEFT_WRIST: (100, 500), 50: (400, 500), 300: (700, 500)}
    for point, (x, y) in list(places.items()):
        group = KEYPOINTS[point].group
        ends = [other.id for other in KEYPOINTS if other.group == group and other.id not in places]
        # A second point of the group sets its size; it lies off the strip that is measured.
        places[ends[-1]] = (x + {"body": 0, "left_hand": 60, "face": 60}[group], y + 450)
    photo = grey_photo(1000, 1000)
    picture = changed(PoseDrawing()(photo, PoseResult((1000, 1000), (make_person(places),))), photo)
    heights = [picture[480:520, x].sum() for x in (100, 400, 700)]
    assert heights[0] > heights[1] > heights[2] > 0


def test_the_larger_person_is_drawn_over_the_smaller():
    photo = grey_photo(400, 400)
    small = make_person({LEFT_SHOULDER: (200, 160), LEFT_ELBOW: (200, 240)})
    large = make_person({5: (20, 200), 6: (380, 200)})
    for people in ((small, large), (large, small)):
        picture = PoseDrawing(radius=8)(photo, PoseResult((400, 400), people))
        assert tuple(picture[200, 200]) == (51, 153, 255)


@pytest.mark.parametrize(
    "places",
    [
        {},
        {LEFT_SHOULDER: (-500.0, -500.0)},
        {LEFT_SHOULDER: (1e9, 20.0), LEFT_ELBOW: (20.0, 20.0)},
        {LEFT_SHOULDER: (20.0, 20.0), LEFT_ELBOW: (20.0, 20.0)},
        {LEFT_SHOULDER: (-0.4, 59.4), LEFT_ELBOW: (59.4, -0.4)},
    ],
    ids=["nothing seen", "outside", "far outside", "length 0", "on the border"],
)
@pytest.mark.parametrize("size", [(60, 60), (1, 1), (3, 200)])
def test_odd_places_are_drawn_without_complaint(places, size):
    picture = PoseDrawing()(grey_photo(*size), PoseResult(size, (make_person(places),)))
    assert picture.shape == (*size, 3)


def test_opacity_and_dimming():
    photo = grey_photo(200, 200)
    result = PoseResult((200, 200), (make_body(200),))
    full, half = PoseDrawing()(photo, result), PoseDrawing(opacity=0.5)(photo, result)
    assert np.array_equal(PoseDrawing(opacity=0.0)(photo, result), photo)
    assert np.abs(half - (full / 2 + photo / 2)).max() <= 1
    assert (PoseDrawing(dim=0.5)(photo, PoseResult((200, 200), ())) == GREY / 2).all()


# ---- Body parts -------------------------------------------------------------------------------------------


def make_labels(size: tuple[int, int] = (120, 160)) -> np.ndarray:
    labels = np.zeros(size, np.uint8)
    labels[20:100, 30:90], labels[20:60, 90:130] = 22, 3
    return labels


@pytest.mark.parametrize("opacity", [0.0, 0.25, 0.5, 1.0])
def test_parts_are_tinted_and_the_background_is_untouched(opacity):
    photo = np.random.default_rng(2).integers(0, 256, (120, 160, 3), np.uint8)
    result = SegmentationResult(make_labels())
    picture = SegmentationDrawing(opacity)(photo, result)
    assert np.array_equal(picture[~result.mask], photo[~result.mask])
    expected = photo[30:90, 40:80] * (1 - opacity) + np.array(PARTS[22].color) * opacity
    assert np.abs(picture[30:90, 40:80] - expected).max() <= 1


def test_contours_lie_inside_the_parts_and_vanish_with_the_tint():
    photo, result = grey_photo(120, 160), SegmentationResult(make_labels())
    inner, rim = (slice(40, 50), slice(50, 60)), (slice(40, 50), 30)
    picture = SegmentationDrawing()(photo, result)
    assert picture[rim].mean() > picture[inner].mean() + 40
    assert np.array_equal(SegmentationDrawing(0.0)(photo, result), photo)


def test_the_same_part_of_two_people_is_parted_by_a_contour():
    labels = np.full((60, 80), 22, np.uint8)
    owners = np.where(np.arange(80) < 40, 1, 2).astype(np.uint8)[None].repeat(60, axis=0)
    photo = grey_photo(60, 80)
    one, two = (SegmentationDrawing()(photo, SegmentationResult(labels, which)) for which in (None, owners))
    assert two[30, 39:41].mean() > one[30, 39:41].mean() + 40
    assert np.array_equal(two[:, 10:30], one[:, 10:30])


def test_every_class_has_its_colour():
    labels = np.repeat(np.arange(28, dtype=np.uint8), 20)[None].repeat(20, axis=0)
    picture = SegmentationDrawing(1.0)(grey_photo(*labels.shape), SegmentationResult(labels))
    for part in PARTS[1:]:
        assert tuple(picture[10, part.id * 20 + 10]) == part.color


def test_nobody_leaves_the_photo_as_it_is():
    photo = grey_photo(20, 30)
    picture = SegmentationDrawing()(photo, SegmentationResult(np.zeros((20, 30), np.uint8)))
    assert np.array_equal(picture, photo) and picture is not photo


def test_the_legend_lists_parts_by_share():
    entries = legend(SegmentationResult(make_labels()))
    assert [(entry.title, entry.color) for entry in entries] == [
        ("Upper clothing", PARTS[22].color),
        ("Hair", PARTS[3].color),
    ]
    assert [entry.share for entry in entries] == pytest.approx([0.75, 0.25])
    assert legend(SegmentationResult(np.zeros((4, 4), np.uint8))) == []


# ---- Depth and normals ------------------------------------------------------------------------------------


def test_near_is_bright_and_one_stray_pixel_does_not_matter():
    depth = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (100, 1))
    plain = DepthDrawing()(grey_photo(100, 200), DepthResult(depth))
    brightness = plain[50].astype(int).sum(axis=1)
    assert (np.diff(brightness[2:-2]) <= 0).all() and brightness[0] > 500 and brightness[-1] < 30
    depth[0, 0] = 1000
    spoilt = DepthDrawing()(grey_photo(100, 200), DepthResult(depth))
    assert np.abs(spoilt[1:].astype(int) - plain[1:]).max() <= 6


@pytest.mark.parametrize("value", [0.0, -3.5, 1e6])
def test_a_flat_map_gets_one_colour(value):
    depth = np.full((20, 30), value, np.float32)
    picture = DepthDrawing()(grey_photo(20, 30), DepthResult(depth))
    assert (picture == picture[0, 0]).all()
    assert np.abs(picture[0, 0].astype(int) - depth_color_bar(3, 1)[0, 1]).max() <= 8


@pytest.mark.parametrize("drawing", [DepthDrawing, DepthNormalsDrawing, NormalDrawing])
def test_backgrounds_are_neutral_and_an_empty_mask_counts_as_none(drawing):
    generator = np.random.default_rng(3)
    values = generator.uniform(-1, 1, (40, 50, 3)).astype(np.float32)
    values = values if drawing is NormalDrawing else values[..., 0].copy()
    make = NormalResult if drawing is NormalDrawing else DepthResult
    mask = np.zeros((40, 50), bool)
    photo = grey_photo(40, 50)
    everything = drawing()(photo, make(values, None))
    assert np.array_equal(drawing()(photo, make(values, mask)), everything)
    mask[10:30, 10:40] = True
    picture = drawing()(photo, make(values, mask))
    assert (picture[~mask] == NEUTRAL).all() and (picture[mask] != NEUTRAL).any()
    assert (drawing(background=(1, 2, 3))(photo, make(values, mask))[~mask] == (1, 2, 3)).all()


@pytest.mark.parametrize(
    ("normal", "color"),
    [
        ((0, 0, 1), (127, 127, 255)),
        ((1, 0, 0), (255, 127, 127)),
        ((0, 1, 0), (127, 255, 127)),
        ((-1, 0, 0), (0, 127, 127)),
        ((0, 0, -1), (127, 127, 0)),
    ],
)
def test_normals_become_colours(normal, color):
    normals = np.broadcast_to(np.float32(normal), (70, 5, 3)).copy()
    assert (NormalDrawing()(grey_photo(70, 5), NormalResult(normals)) == color).all()


@pytest.mark.parametrize("size", [120, 900])
def test_normals_from_depth_have_no_rim_and_look_alike_at_every_size(size):
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    mask = np.hypot(x, y) < 0.4
    depth = np.where(mask, x, np.float32(7))  # like a wall on the left: nearer there, facing right
    picture = DepthNormalsDrawing()(grey_photo(size, size), DepthResult(depth, mask))
    inside = picture[mask].astype(int)
    red, green, blue = np.median(inside, axis=0)
    assert red > 180 and abs(green - 127) <= 1 and blue > 220
    assert (np.abs(inside - (red, green, blue)) > 3).mean() < 1e-3


def test_normals_from_depth_of_a_large_person_are_measured_on_a_smaller_map_at_no_loss():
    y, x = np.mgrid[:700, :700].astype(np.float32) / 350 - 1
    mask = np.hypot(x, y) < 0.9
    result = DepthResult(np.where(mask, -np.sqrt(np.maximum(1 - x * x - y * y, 0)), np.float32(3)), mask)
    picture = DepthNormalsDrawing()(grey_photo(700, 700), result)
    whole = NormalDrawing()(grey_photo(700, 700), NormalResult(normals_from_depth(result), mask))
    difference = np.abs(picture.astype(int) - whole)[mask]
    assert difference.mean() < 1 and np.percentile(difference, 99) <= 6


def test_the_sphere_explains_the_colours():
    sphere = normal_sphere(101)
    assert sphere.shape == (101, 101, 4)
    assert np.abs(sphere[50, 50].astype(int) - (127, 127, 255, 255)).max() <= 1
    assert sphere[50, 97, 0] > 235 and sphere[50, 3, 0] < 20  # red to the right
    assert sphere[3, 50, 1] > 235 and sphere[97, 50, 1] < 20  # green upwards
    assert (sphere[[0, 0, -1, -1], [0, -1, 0, -1], 3] == 0).all()
    assert ((sphere[..., 3] > 0) & (sphere[..., 3] < 255)).sum() > 100  # a soft edge


def test_the_colour_bar_runs_from_near_to_far():
    bar = depth_color_bar(300, 10)
    depth = np.tile(np.linspace(0, 1, 300, dtype=np.float32), (10, 1))
    assert bar.shape == (10, 300, 3)
    picture = DepthDrawing(percentiles=(0, 100))(grey_photo(10, 300), DepthResult(depth))
    assert np.abs(bar.astype(int) - picture).max() <= 8


# ---- Sizes ------------------------------------------------------------------------------------------------


def test_blend_mixes_and_refuses_what_does_not_fit():
    black, white = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)
    assert (blend(black, white, 0.2) == 51).all()
    with pytest.raises(ValueError, match="H, W"):
        blend(black, white[:, :4], 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        blend(black, white, 1.5)


@pytest.mark.parametrize(
    ("drawing", "style"),
    [
        (PoseDrawing, {"opacity": 1.1}),
        (PoseDrawing, {"dim": -0.1}),
        (PoseDrawing, {"radius": 0}),
        (SegmentationDrawing, {"opacity": -0.5}),
    ],
)
def test_impossible_styles_are_refused(drawing, style):
    with pytest.raises(ValueError, match="is not"):
        drawing(**style)


@pytest.mark.parametrize(
    ("drawing", "result"),
    [
        (PoseDrawing(), PoseResult((4, 6), ())),
        (SegmentationDrawing(), SegmentationResult(np.zeros((4, 6), np.uint8))),
        (DepthDrawing(), DepthResult(np.zeros((4, 6), np.float32))),
        (DepthNormalsDrawing(), DepthResult(np.zeros((4, 6), np.float32))),
        (NormalDrawing(), NormalResult(np.zeros((4, 6, 3), np.float32))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_of_another_size_is_refused(drawing, result):
    with pytest.raises(ValueError, match="H, W"):
        drawing(grey_photo(4, 5), result)


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        ((3000, 4000), 2_000_000, (1224, 1632)),
        ((1000, 2000), 2_000_000, (1000, 2000)),
        ((1, 50_000), 10_000, (1, 22_360)),
        ((100, 100), 1, (1, 1)),
    ],
)
def test_photos_are_shrunk_to_what_a_screen_shows(size, most, expected):
    assert shrink_for_display(np.zeros((*size, 3), np.uint8), most).shape == (*expected, 3)


def test_a_small_photo_is_not_copied():
    photo = grey_photo(10, 10)
    assert shrink_for_display(photo) is photo


@pytest.mark.parametrize(
    ("size", "most", "exactness"),
    [((400, 600), 150_000, 0.02), ((400, 600), 40_000, 0.02), ((401, 604), 20_000, 0.5)],
    ids=["less than half", "more than half", "a size that cannot be halved"],
)
def test_keypoints_stay_on_what_they_mark(size, most, exactness):
    photo = np.zeros((*size, 3), np.uint8)
    photo[200:221, 300:321] = 255  # its centre: (310, 210)
    small = shrink_for_display(photo, most)
    person = make_person({LEFT_WRIST: (310, 210)})
    shrunk = shrink_result(PoseResult(size, (person,)), small.shape[:2])
    assert shrunk.image_size == small.shape[:2]
    assert shrunk.people[0].keypoints[LEFT_WRIST] == pytest.approx(centroid(small[..., 0]), abs=exactness)


def test_boxes_keep_their_share_of_the_photo():
    person = Person(np.float32([0, 0, 600, 400]), np.zeros((308, 2), np.float32), np.zeros(308, np.float32))
    shrunk = shrink_result(PoseResult((400, 600), (person,)), (100, 150))
    assert shrunk.people[0].box.tolist() == [0, 0, 150, 100]


def test_maps_are_shrunk_with_their_masks():
    labels = make_labels()
    mask = labels > 0
    depth = np.where(mask, np.float32(0.25), np.float32(9))
    turn = np.arange(160, dtype=np.float32) * 0.4
    normals = np.tile(np.stack([np.sin(turn), 0 * turn, np.cos(turn)], axis=1), (120, 1, 1))
    size = (40, 53)
    parts = shrink_result(SegmentationResult(labels, mask.view(np.uint8) * np.uint8(3)), size)
    relief = shrink_result(DepthResult(depth, mask), size)
    facing = shrink_result(NormalResult(normals, mask), size)
    assert parts.labels.shape == size and set(np.unique(parts.labels)) == {0, 3, 22}
    assert np.array_equal(parts.owners, parts.mask * 3)
    assert np.array_equal(relief.mask, parts.mask) and np.array_equal(facing.mask, parts.mask)
    assert relief.depth[15, 20] == pytest.approx(0.25)
    assert np.linalg.norm(facing.normals, axis=2) == pytest.approx(1, abs=1e-5)
    assert shrink_result(DepthResult(depth), size).mask is None


@pytest.mark.parametrize(
    "result",
    [
        PoseResult((6, 8), ()),
        SegmentationResult(np.zeros((6, 8), np.uint8)),
        DepthResult(np.zeros((6, 8), np.float32)),
        NormalResult(np.zeros((6, 8, 3), np.float32)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_of_the_right_size_stays_as_it_is(result):
    assert shrink_result(result, (6, 8)) is result


def test_drawing_and_export_start_without_torch_and_gradio():
    code = (
        "import sys, sapiens_demo.drawing, sapiens_demo.export; "
        "sys.exit(', '.join({'torch', 'gradio'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()

"""The example pictures: their parts keep their promises, and the pictures are the same every time."""

import json

import numpy as np
import pytest

from sapiens_demo.training import lighting, wardrobe
from sapiens_demo.training.examples import EXAMPLES, draw_example, write_examples
from sapiens_demo.training.figures import Arm, Leg, Stance, make_figure
from sapiens_demo.training.lighting import Light, Shade
from sapiens_demo.training.meshes import Subdivision, border_edges, box, cut, ellipsoid
from sapiens_demo.training.noise import noise

SMALL = 0.04
SUN = Light((0, 0, 1), (1, 1, 1), 1, (1, 1, 1), (1, 1, 1), (1, 1, 1))


@pytest.fixture(autouse=True)
def few_light_samples(monkeypatch):
    """Light with few samples, so that the tests are quick."""
    sphere = lighting._sphere
    monkeypatch.setattr(lighting, "_KEY_SAMPLES", 2)
    monkeypatch.setattr(lighting, "_sphere", lambda count: sphere(8))


@pytest.fixture(scope="module")
def standing():
    """Return a person who stands."""
    return make_figure(283, Stance(), 0, (0.5, -0.25))


@pytest.mark.parametrize(
    "mesh", [ellipsoid((1, 2, 3), (1, 1, 1), 4), box((0, 0, 0), (1, 2, 3), 0.05)], ids=["ball", "box"]
)
def test_solids_are_closed_and_face_outwards(mesh):
    corners = mesh.vertices[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = corners.mean(1) - mesh.vertices.mean(0)
    volume = np.einsum("nc,nc->n", across, outwards).sum()
    assert len(border_edges(mesh.faces)) == 0
    assert volume > 0
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-4)


def test_subdivision_makes_a_cube_round():
    cube = box((-1, -1, -1), (1, 1, 1), 0.0)
    points, faces = ellipsoid((0, 0, 0), (1, 1, 1), 3).vertices, ellipsoid((0, 0, 0), (1, 1, 1), 3).faces
    division = Subdivision(faces, len(points))
    finer = division.smooth(points)
    assert len(division.faces) == 4 * len(faces)
    assert len(border_edges(division.faces)) == 0
    assert np.ptp(np.linalg.norm(finer[len(points) :], axis=1)) < 0.35
    assert cube.vertices.max() == 1


def test_cut_leaves_what_is_positive_and_ends_on_the_level():
    ball = ellipsoid((0, 0, 0), (1, 1, 1), 8)
    height = ball.vertices[:, 2] - 0.3
    values, faces = cut(ball.vertices, ball.faces, height)
    assert values[np.unique(faces), 2].min() > 0.3 - 1e-5
    assert np.allclose(values[np.unique(border_edges(faces)), 2], 0.3, atol=1e-5)


def test_noise_is_smooth_bounded_and_repeats():
    points = np.random.default_rng(0).uniform(-5, 5, (2000, 3)).astype(np.float32)
    values = noise(points, 2.0, 3, seed=4)
    assert np.array_equal(values, noise(points, 2.0, 3, seed=4))
    assert not np.allclose(values, noise(points, 2.0, 3, seed=5))
    assert np.abs(values).max() <= 1.2
    assert np.abs(values - noise(points + 1e-4, 2.0, 3, seed=4)).max() < 0.01


def test_a_figure_stands_on_the_ground_where_it_was_put(standing):
    body = standing.vertices[np.unique(standing.faces[standing.layers == 0])]
    assert abs(body[:, 2].min()) < 0.003  # subdivision rounds the soles by a hair
    assert np.allclose(body[:, :2].mean(0), (0.5, -0.25), atol=0.05)
    assert 1.3 < standing.crown < 2.2


@pytest.mark.parametrize("leg", [Leg(), Leg(30, 10), Leg(-15, 30, -4), Leg(85, 85, 10)])
def test_feet_stay_level_whatever_the_legs_do(leg):
    figure = make_figure(283, Stance(left_leg=leg, right_leg=leg), 20, (0, 0), 0)
    for foot in figure.feet:
        assert np.allclose(foot.rotation @ [0, 0, 1], [0, 0, 1], atol=1e-5)


def test_an_arm_points_where_it_is_told():
    figure = make_figure(283, Stance(left_arm=Arm((1, 0, 0), 0, 0)), 0, (0, 0), 0)
    wrist = figure.vertices[(figure.arm > 0.95) & (figure.place[:, 0] > 0)].mean(0)
    shoulder = figure.vertices[(np.abs(figure.arm) < 0.05) & (figure.place[:, 0] > 0)].mean(0)
    way = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
    assert way[0] > 0.85


@pytest.mark.parametrize(
    "level",
    [wardrobe.top(0.05, 0.35), wardrobe.bottom(0.1, 0.9), wardrobe.scalp()],
    ids=["top", "bottom", "scalp"],
)
def test_a_garment_lies_outside_the_skin_it_covers(standing, level):
    garment = wardrobe.Garment(level, 0.01, 6, 0.0)
    shell = wardrobe.shell(standing, garment)
    used = np.unique(shell.faces)
    skin = np.unique(standing.faces[standing.layers == 0])
    inside = standing.vertices[skin[level(standing)[skin] > 0.03][::60]]
    nearest = [used[np.abs(shell.vertices[used] - point).sum(1).argmin()] for point in inside]
    gaps = np.einsum("nc,nc->n", shell.vertices[nearest] - inside, shell.normals[nearest])
    assert len(gaps) > 8
    assert (gaps > 0.005).mean() > 0.92  # in the armpits the nearest cloth is the other side
    assert np.median(gaps) < 0.03


def test_skin_under_clothes_is_cut_away(standing):
    level = wardrobe.bottom(0.1, 0.9)
    _, faces, place = wardrobe.bare(standing, [level])
    legs = place[np.unique(faces)]
    assert not (
        (legs[:, 2] < 0.0) & (legs[:, 2] > -0.6) & (np.abs(legs[:, 0]) < 0.2) & (legs[:, 2] > -0.5)
    ).any()


def test_light_stops_at_what_stands_in_its_way():
    roof = box((-1, -1, 1), (1, 1, 1.1), 0.01)
    shade = Shade(SUN, roof.vertices, roof.faces, roof.vertices)
    points = np.array([[0, 0, 0.5], [0, 0, 1.5], [3, 0, 0.5]], np.float32)
    normals = np.tile(np.float32([0, 0, 1]), (3, 1))
    assert shade.key(points, normals).tolist() == [0, 1, 1]
    dim, open_sky, _ = shade.ambient(points, normals)[:, 0]
    assert dim < 0.7 * open_sky


@pytest.mark.parametrize("example", EXAMPLES[1:5:3], ids=lambda example: example.file)
def test_examples_show_people_in_colour(example):
    image = draw_example(example, SMALL)
    assert image.dtype == np.uint8
    assert sorted(image.shape[:2]) == [48, 64]
    assert 60 < image.mean() < 190
    assert image.std() > 20


def test_the_command_draws_the_same_picture_twice_and_lists_all(tmp_path):
    name = EXAMPLES[-1].file
    for folder in ("first", "second"):
        write_examples(tmp_path / folder, name, SMALL)
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    rows = json.loads((tmp_path / "first" / "examples.json").read_text(encoding="utf-8"))
    assert [row["file"] for row in rows] == [example.file for example in EXAMPLES]
    assert all(row["title"] and row["alt"].endswith(".") for row in rows)

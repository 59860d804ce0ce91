"""Tensors are found where torch put them, and nothing that a file holds is ever run."""

import contextlib
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import save_file

from sapiens_demo.archives import ArchiveError, find_tensors, read_archive

anew = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@st.composite
def strided_tensors(draw):
    """Draw a view of a tensor: permuted, cut, stepped, expanded, or empty."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    tensor = torch.arange(int(torch.Size(shape).numel()), dtype=torch.float32).reshape(shape)
    tensor = tensor.to(draw(st.sampled_from(DTYPES)))
    tensor = tensor.permute(draw(st.permutations(range(tensor.ndim))))
    for axis in range(tensor.ndim):
        start, step = draw(st.integers(0, 2)), draw(st.integers(1, 2))
        tensor = tensor[(slice(None),) * axis + (slice(start, None, step),)]
    if draw(st.booleans()):
        tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
    return tensor


@given(st.dictionaries(st.text("abc.", min_size=1), strided_tensors(), max_size=4))
@anew
def test_saved_tensors_come_back(tmp_path, tensors):
    path = tmp_path / "x.pth"
    torch.save(tensors, path)
    assert_equal(read_archive(path), tensors)
    assert_equal({name: stored.read() for name, stored in find_tensors(path).items()}, tensors)


@given(st.dictionaries(st.text("abc.", min_size=1), strided_tensors(), max_size=4))
@anew
def test_safetensors_come_back(tmp_path, tensors):
    path = tmp_path / "x.safetensors"
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert_equal(read_archive(path), tensors)


def assert_equal(read, expected):
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_tensors_that_share_a_storage_come_back_as_views_of_one_map(tmp_path):
    whole = torch.arange(12.0)
    torch.save({"whole": whole, "part": whole[3:7]}, tmp_path / "x.pth")
    read = read_archive(tmp_path / "x.pth")
    read["whole"][3] = 99
    assert read["part"][0] == 99


def test_writing_to_what_was_read_leaves_the_file_alone(tmp_path):
    torch.save({"a": torch.zeros(8)}, tmp_path / "x.pth")
    read_archive(tmp_path / "x.pth")["a"].fill_(1)
    find_tensors(tmp_path / "x.pth")["a"].read().fill_(1)
    assert not read_archive(tmp_path / "x.pth")["a"].any()


def test_only_tensors_come_back(tmp_path):
    content = {"state_dict": {"a": torch.ones(2), "steps": 3, "names": ["x"]}, "meta": {"b": torch.ones(1)}}
    torch.save(content, tmp_path / "x.pth")
    assert list(read_archive(tmp_path / "x.pth")) == ["a"]


class MakesFile:
    """Create a file when it is unpickled the usual way."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_nothing_in_a_pickle_is_run(tmp_path):
    trace = tmp_path / "trace"
    torch.save({"state_dict": {"a": torch.ones(2)}, "meta": MakesFile(trace)}, tmp_path / "x.pth")
    assert torch.equal(read_archive(tmp_path / "x.pth")["a"], torch.ones(2))
    assert not trace.exists()
    torch.load(tmp_path / "x.pth", weights_only=False)
    assert trace.exists()  # so it would have been run


def zip_of(path, entries, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in entries.items():
            file.writestr(f"archive/{name}", content)
    return path


class Tensor:
    """Pickle as torch does a tensor of the given place in a storage."""

    def __init__(self, *place):
        self.place = place

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (Storage(), *self.place, False, {})


class Storage:
    pass


class TorchPickler(pickle._Pickler):
    reference = ("storage", torch.FloatStorage, "0", "cpu", 4)

    def persistent_id(self, thing):
        return self.reference if isinstance(thing, Storage) else None


def pickled(content, reference=TorchPickler.reference):
    file = io.BytesIO()
    pickler = TorchPickler(file, protocol=2)
    pickler.reference = reference
    pickler.dump(content)
    return file.getvalue()


FOUR = struct.pack("<4f", 1, 2, 3, 4)


@pytest.mark.parametrize(
    "place",
    [(0, (4,), (1,)), (1, (3,), (1,)), (0, (2, 2), (1, 2)), (3, (), ()), (9, (0,), (1,)), (0, (5,), (0,))],
    ids=str,
)
def test_places_within_a_storage_are_read(tmp_path, place):
    offset, shape, strides = place
    path = zip_of(tmp_path / "x.pth", {"data.pkl": pickled({"a": Tensor(*place)}), "data/0": FOUR})
    expected = torch.tensor([1.0, 2, 3, 4]).as_strided(shape, strides, offset)
    assert torch.equal(read_archive(path)["a"], expected)


@pytest.mark.parametrize(
    "place",
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (1, 3)),
        (4, (), ()),
        (0, (2**40, 2**40), (1, 1)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (3, (4,), (-1,)),
        (0, (2**64,), (0,)),
        (0, (4,), ()),
        (0, ("4",), (1,)),
        (0, (4.0,), (1,)),
        (0, 4, 1),
        (None, (4,), (1,)),
    ],
    ids=str,
)
def test_places_outside_a_storage_are_refused(tmp_path, place):
    path = zip_of(tmp_path / "x.pth", {"data.pkl": pickled({"a": Tensor(*place)}), "data/0": FOUR})
    with pytest.raises(ArchiveError):
        read_archive(path)


@pytest.mark.parametrize(
    "reference",
    [
        ("storage", torch.FloatStorage, "1", "cpu", 4),
        ("storage", torch.FloatStorage, "../data.pkl", "cpu", 4),
        ("storage", os.system, "0", "cpu", 4),
        ("module", torch.FloatStorage, "0", "cpu", 4),
        "0",
        (),
    ],
    ids=["missing", "elsewhere", "function", "module", "text", "empty"],
)
def test_references_to_anything_but_storages_are_refused(tmp_path, reference):
    entries = {"data.pkl": pickled({"a": Tensor(0, (4,), (1,))}, reference), "data/0": FOUR}
    with pytest.raises(ArchiveError):
        read_archive(zip_of(tmp_path / "x.pth", entries))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02c__main__\nx\n.",
        b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02(((((((.",
        b"0",
        b"",
    ],
)
def test_pickles_that_are_no_state_dict(tmp_path, program):
    path = zip_of(tmp_path / "x.pth", {"data.pkl": program})
    with contextlib.suppress(ArchiveError):
        assert read_archive(path) == {}


def test_pickle_cannot_ask_for_memory(tmp_path):
    # An empty dictionary, put at place 2**24 of the memo: 20 bytes that ask the unpickler in C for 268 MB.
    path = zip_of(tmp_path / "x.pth", {"data.pkl": b"\x80\x02}r\x00\x00\x00\x01."})
    tracemalloc.start()
    try:
        read_archive(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_module_that_contains_itself_is_walked_once(tmp_path):
    # The pickle of a module whose attribute "again" is the module.
    program = b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x05\x00\x00\x00againh\x00sb."
    assert read_archive(zip_of(tmp_path / "x.pt2", {"data.pkl": program})) == {}


def test_compressed_tensors_are_refused(tmp_path):
    entries = {"data.pkl": pickled({"a": Tensor(0, (4,), (1,))}), "data/0": FOUR}
    path = zip_of(tmp_path / "x.pth", entries, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ArchiveError, match="compressed"):
        read_archive(path)


def test_pickle_that_unpacks_to_too_much_is_refused(tmp_path):
    path = zip_of(tmp_path / "x.pth", {"data.pkl": bytes(60_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(ArchiveError, match="too long"):
        read_archive(path)


@pytest.mark.parametrize("entry", [{"use_pickle": True}, {}, {"use_pickle": False, "path_name": "weight_0"}])
def test_exported_weights_of_another_kind_are_refused(tmp_path, entry):
    config = json.dumps({"config": {"a": entry}})
    path = zip_of(tmp_path / "x.pt2", {"data/weights/model_weights_config.json": config})
    with pytest.raises(ArchiveError):
        read_archive(path)


def safetensors(header, data=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}}),
        safetensors({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}),
        safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}),
        safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}),
        safetensors({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}),
        safetensors({"a": {"dtype": "F3", "shape": [4], "data_offsets": [0, 16]}}),
        safetensors({"a": {"dtype": "F32", "shape": "4", "data_offsets": [0, 16]}}),
        safetensors({"a": 1}),
        safetensors([1]),
        safetensors(b"{not json"),
        (2**63).to_bytes(8, "little") + b"{}",
        (10**7).to_bytes(8, "little") + b"{}",
        b"{",
    ],
)
def test_damaged_safetensors_are_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        read_archive(path)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (b"<html>Not found</html>", "neither"),
        (pickle.dumps({"a": 1}), "neither"),
        (b"PK\x03\x04", "damaged"),
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path, content, words):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=words):
        find_tensors(path)


def test_zip_of_something_else(tmp_path):
    with pytest.raises(ArchiveError, match="not one of torch's archives"):
        read_archive(zip_of(tmp_path / "x.zip", {"document.xml": "<a/>"}))


def test_folder_is_refused(tmp_path):
    with pytest.raises(ArchiveError):
        read_archive(tmp_path)


def saved(kind):
    """Return the bytes of a small file of a kind."""
    file = io.BytesIO()
    if kind == "pth":
        torch.save(
            {"state_dict": {"a": torch.randn(6, 4), "b": torch.ones(3)}, "meta": {"x": [1, "y"]}}, file
        )
        return file.getvalue()
    return safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})


WHOLE = {kind: saved(kind) for kind in ("pth", "safetensors")}


@pytest.mark.parametrize("kind", WHOLE)
@given(data=st.data())
@anew
def test_cut_files_are_refused(tmp_path, kind, data):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(WHOLE[kind][: data.draw(st.integers(0, len(WHOLE[kind]) - 1))])
    with pytest.raises(ArchiveError):
        read_archive(path)


@pytest.mark.parametrize("kind", WHOLE)
@given(data=st.data())
@settings(anew, max_examples=150)
def test_changed_files_are_read_or_refused(tmp_path, kind, data):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"x.{kind}"
    path.write_bytes(content)
    with contextlib.suppress(ArchiveError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_archive(path).values())


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x08\0\0\0\0\0\0\0{"]))
@settings(anew, max_examples=100)
def test_random_bytes_are_refused(tmp_path, content, beginning):
    path = tmp_path / "x.pth"
    path.write_bytes(beginning + content)
    with pytest.raises(ArchiveError):
        find_tensors(path)


def test_file_that_shrinks_after_it_was_opened(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.zeros(100_000)}, path)
    stored = find_tensors(path)["a"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArchiveError):
        stored.read()


def test_reading_needs_no_folder_to_write_to(tmp_path):
    torch.save({"a": torch.ones(4)}, tmp_path / "x.pth")
    (tmp_path / "x.pth").chmod(0o444)
    assert torch.equal(read_archive(Path(tmp_path, "x.pth"))["a"], torch.ones(4))

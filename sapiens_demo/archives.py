"""Where the tensors of a checkpoint file lie, found without running anything that the file holds.

Reads safetensors files and torch's zip archives: of torch.save, TorchScript, and torch.export old and new.
Only places and shapes are gathered; the tensors themselves come by memory map when they are asked for.
"""

from __future__ import annotations

import io
import json
import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

# Numbers of torch.export's ScalarType schema.
_EXPORT_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
_OLD_EXPORT_STATE = "serialized_state_dict.pt"
_LONGEST_TABLE = 50_000_000
_ZIP_SIGNATURE = b"PK\x03\x04"
_LFS_SIGNATURE = b"version https://git-lfs"


class ArchiveError(Exception):
    """Say why a file's tensors cannot be read."""


@dataclass(frozen=True)
class StoredTensor:
    """Say where in a file a tensor lies.

    Args:
        path: the file.
        dtype: element type.
        shape: lengths of the axes.
        strides: steps of the axes, in elements.
        start: byte of the first element.
        span: elements from the first to the last, both included; 0 for an empty tensor.
    """

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    span: int

    def read(self) -> Tensor:
        """Map the tensor alone; its pages leave the memory with the last reference to it.

        Returns:
            A CPU tensor on a private map of its part of the file.

        Raises:
            ArchiveError: the file has become shorter.
        """
        begin = self.start - self.start % mmap.ALLOCATIONGRANULARITY
        with _as_archive_errors(), self.path.open("rb") as file:
            length = self.start + self.size - begin
            mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=begin)
            return self.on_map(mapped, begin)

    def on_map(self, mapped: mmap.mmap, begin: int = 0) -> Tensor:
        """View the tensor on a map that others may use too.

        Args:
            mapped: the file, or a part of it that holds the tensor.
            begin: byte of the file where the map starts.

        Returns:
            A CPU tensor that keeps the map alive.
        """
        if self.span == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        data = memoryview(mapped)[self.start - begin : self.start - begin + self.size]
        if self.start % self.dtype.itemsize:  # elements want aligned memory, which a copy has
            data = bytearray(data)
        return torch.frombuffer(data, dtype=self.dtype).as_strided(self.shape, self.strides)

    @property
    def size(self) -> int:
        """Return the bytes from the first element to the last, both included."""
        return self.span * self.dtype.itemsize


def find_tensors(path: Path) -> dict[str, StoredTensor]:
    """Find the named tensors of a checkpoint file of any layout.

    Args:
        path: a safetensors file, or a zip archive written by torch.save, torch.jit.save or torch.export.save.

    Returns:
        Name to place, in the file's order.

    Raises:
        ArchiveError: the file is damaged, of an unknown layout, or its tensors reach outside their storage.
    """
    with _as_archive_errors():
        return _tensors_in(path, _map(path, mmap.ACCESS_READ))


def read_archive(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint file of any layout.

    Args:
        path: a file as for `find_tensors`.

    Returns:
        Name to tensor; all of them views of one private, lazily read map of the file.

    Raises:
        ArchiveError: as for `find_tensors`.
    """
    with _as_archive_errors():
        mapped = _map(path, mmap.ACCESS_COPY)
        return {name: stored.on_map(mapped) for name, stored in _tensors_in(path, mapped).items()}


@contextmanager
def _as_archive_errors() -> Iterator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except OSError as error:
        raise ArchiveError(error.strerror or str(error)) from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError) as error:
        raise ArchiveError(f"it is damaged ({error})") from error
    except Exception as error:  # contents made to do harm can fail in any way at all
        raise ArchiveError(f"its contents make no sense ({type(error).__name__}: {error})") from error


def _map(path: Path, access: int) -> mmap.mmap:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise ArchiveError("it is empty")
        return mmap.mmap(file.fileno(), 0, access=access)


def _tensors_in(path: Path, mapped: mmap.mmap) -> dict[str, StoredTensor]:
    if mapped[: len(_LFS_SIGNATURE)] == _LFS_SIGNATURE:
        raise ArchiveError("it is Git LFS's note about the file and not the file itself")
    if mapped[: len(_ZIP_SIGNATURE)] == _ZIP_SIGNATURE:
        return _ZipArchive(path, memoryview(mapped), 0).tensors()
    if path.suffix == ".safetensors" or mapped[8:9] == b"{":
        return _safetensors(path, mapped)
    raise ArchiveError("it is neither a safetensors file nor one of torch's archives")


def _safetensors(path: Path, mapped: mmap.mmap) -> dict[str, StoredTensor]:
    """Read the header: 8 bytes with its length, then JSON with offsets that count from the header's end."""
    (length,) = struct.unpack_from("<Q", mapped)
    begin = 8 + length
    if length > _LONGEST_TABLE or begin > len(mapped):
        raise ArchiveError("its header is damaged")
    tensors = {}
    for name, entry in json.loads(mapped[8:begin]).items():
        if name == "__metadata__":
            continue
        dtype = _SAFETENSORS_DTYPES[entry["dtype"]]
        start, end = entry["data_offsets"]
        if not 0 <= start <= end <= len(mapped) - begin:
            raise ArchiveError(f"it ends before its tensor {name}")
        storage = _Storage(path, dtype, begin + start, (end - start) // dtype.itemsize)
        shape = entry["shape"]
        tensors[name] = storage.place(0, shape, _contiguous_strides(shape))
    return tensors


def _contiguous_strides(shape: list[int]) -> list[int]:
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return strides[::-1]


@dataclass(frozen=True)
class _Storage:
    """A run of equal elements in a file: where it starts (in bytes) and how many there are."""

    path: Path
    dtype: torch.dtype
    start: int
    count: int

    def place(self, offset: object, shape: object, strides: object) -> StoredTensor:
        shape, strides = tuple(shape), tuple(strides)
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise ArchiveError("a tensor has an impossible shape")
        last = sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
        span = 0 if 0 in shape else last + 1
        if span and offset + span > self.count:
            raise ArchiveError("a tensor reaches beyond its storage")
        start = self.start + offset * self.dtype.itemsize
        return StoredTensor(self.path, self.dtype, shape, strides, start, span)


class _ZipArchive:
    """A zip container, which may lie within another one.

    Args:
        path: the outermost file.
        view: the container's bytes.
        origin: where they start in the file.
    """

    def __init__(self, path: Path, view: memoryview, origin: int) -> None:
        self._path, self._view, self._origin = path, view, origin
        self._zip = zipfile.ZipFile(_ViewFile(view))
        # torch puts everything into one folder, which is called after the file.
        self._names = {name.split("/", 1)[-1]: name for name in self._zip.namelist()}

    def tensors(self) -> dict[str, StoredTensor]:
        if _WEIGHTS_CONFIG in self._names:
            return self._exported()
        if _OLD_EXPORT_STATE in self._names:
            start, size = self._span(_OLD_EXPORT_STATE)
            inner = self._view[start : start + size]
            return _ZipArchive(self._path, inner, self._origin + start).tensors()
        if "data.pkl" in self._names:
            file = io.BytesIO(self._table("data.pkl"))
            return _named_tensors(_InertUnpickler(file, self._storage).load())
        raise ArchiveError("it is not one of torch's archives")

    def _exported(self) -> dict[str, StoredTensor]:
        tensors = {}
        for name, entry in json.loads(self._table(_WEIGHTS_CONFIG))["config"].items():
            if entry["use_pickle"]:
                raise ArchiveError(f"its tensor {name} is pickled")
            meta = entry["tensor_meta"]
            storage = self._storage(f"data/weights/{entry['path_name']}", _EXPORT_DTYPES[meta["dtype"]])
            shape = [length["as_int"] for length in meta["sizes"]]
            strides = [step["as_int"] for step in meta["strides"]]
            tensors[name] = storage.place(meta["storage_offset"]["as_int"], shape, strides)
        return tensors

    def _storage(self, name: str, dtype: torch.dtype) -> _Storage:
        start, size = self._span(name)
        return _Storage(self._path, dtype, self._origin + start, size // dtype.itemsize)

    def _table(self, name: str) -> bytes:
        info = self._zip.getinfo(self._names[name])
        if info.file_size > _LONGEST_TABLE:
            raise ArchiveError(f"its {name} is too long")
        return self._zip.read(info)

    def _span(self, name: str) -> tuple[int, int]:
        """Find where an entry's bytes start in the container, and how many they are."""
        info = self._zip.getinfo(self._names[name])
        if info.compress_type != zipfile.ZIP_STORED:
            raise ArchiveError(f"its {name} is compressed, which torch never does")
        # A local file header is 30 bytes, then a name and an extra field of the lengths it states.
        header = self._view[info.header_offset : info.header_offset + 30]
        if header[:4] != _ZIP_SIGNATURE:
            raise ArchiveError(f"it has no {name} where its directory says")
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        start = info.header_offset + 30 + name_length + extra_length
        if start + info.file_size > len(self._view):
            raise ArchiveError(f"it ends within {name}")
        return start, info.file_size


class _ViewFile(io.RawIOBase):
    """Let zipfile read from a memory view without copying all of it."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = len(self._view) if size < 0 else self._at + size
        data = bytes(self._view[self._at : stop])
        self._at += len(data)
        return data


class _Inert:
    """Stand in for whatever class or function a pickle names: takes everything, does nothing."""

    def __new__(cls, *arguments: object, **options: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *arguments: object, **options: object) -> None:
        self.state: object = None

    def __call__(self, *arguments: object, **options: object) -> _Inert:
        return _Inert()

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    def extend(self, values: object) -> None:
        pass

    def add(self, value: object) -> None:
        pass


# The one written in Python: the memo of the one in C can be made to ask for any amount of memory.
class _InertUnpickler(pickle._Unpickler):
    """Rebuild plain containers and the places of tensors; every other name in the pickle becomes inert."""

    def __init__(self, file: io.BytesIO, storage: Callable[[str, torch.dtype], _Storage]) -> None:
        super().__init__(file)
        self._storage = storage
        # Made anew for each file: should a pickle write attributes onto them, nothing of it stays.
        self._known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda store, *place: store.place(*place[:3]),
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }

    def find_class(self, module: str, name: str) -> object:
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        return self._known.get((module, name), _Inert)

    def persistent_load(self, reference: object) -> _Storage:
        kind, dtype, key, *_ = reference
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ArchiveError("it refers to something that is not a tensor's storage")
        return self._storage(f"data/{key}", dtype)


def _named_tensors(root: object) -> dict[str, StoredTensor]:
    """Walk a state dict, a checkpoint that holds one, or a TorchScript module's attributes."""
    if isinstance(root, dict) and isinstance(root.get("state_dict"), dict):
        root = root["state_dict"]
    if isinstance(root, dict):
        return {str(name): value for name, value in root.items() if isinstance(value, StoredTensor)}
    tensors: dict[str, StoredTensor] = {}
    waiting, seen = [("", root)], set()
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen or not isinstance(module, _Inert) or not isinstance(module.state, dict):
            continue
        seen.add(id(module))  # a module may be made to contain itself
        for name, value in module.state.items():
            if isinstance(value, StoredTensor):
                tensors[f"{prefix}{name}"] = value
            else:
                waiting.append((f"{prefix}{name}.", value))
    return tensors

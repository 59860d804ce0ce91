from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sapiens_demo import devices, models
from sapiens_demo.errors import CheckpointError, DemoError
from sapiens_demo.models import MemoryExhausted, ModelCache, ModelInfo, ModelKey
from sapiens_demo.network import NetworkConfig, SapiensNetwork
from sapiens_demo.placement import Placed
from sapiens_demo.threads import DeviceThread

pytest_plugins = ["tests.mini_weights"]

SECONDS = 30.0
POSE, SEGMENTATION, DEPTH, NORMAL = (
    ModelKey(task, "mini") for task in ("pose", "segmentation", "depth", "normal")
)
HEIGHT, WIDTH = NetworkConfig.from_name("pose", "mini").image_size
IMAGES = torch.zeros(1, 3, HEIGHT, WIDTH)
CPU = torch.device("cpu")
LARGEST = max(
    models._weight_bytes(NetworkConfig.from_name(key.task, "mini"), torch.float32)
    for key in (POSE, SEGMENTATION, DEPTH, NORMAL)
)
PEAK = LARGEST


@dataclass
class FakePlacement:
    """Stand in for the device: remember who was placed, and compute next to nothing."""

    forward: Callable[[Tensor], Tensor] = lambda images: images[:, :1]
    better: Callable[[Placed, Tensor], Placed] = lambda placed, images: placed
    placed: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def place(self, network: SapiensNetwork, device: torch.device, dtype: torch.dtype) -> Placed:
        self.placed.append(network.config.task)
        self.threads.add(threading.get_ident())
        return Placed(network, self.forward)

    def after_first_use(self, placed: Placed, images: Tensor) -> Iterator[Placed]:
        self.threads.add(threading.get_ident())
        yield self.better(placed, images)


@pytest.fixture(autouse=True)
def _thread(random_mini: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceThread:
    """Give every test a device thread that does not wait for quiet."""
    thread = DeviceThread("models", quiet_seconds=0.0)
    monkeypatch.setattr(models, "device_thread", lambda name: thread)
    return thread


def _shape(output: Tensor) -> tuple[int, ...]:
    return tuple(output.shape)


def test_a_model_is_loaded_when_it_is_first_asked_for() -> None:
    placement = FakePlacement()
    cache = ModelCache("cpu", strategy=placement)
    assert cache.loaded() == () and placement.placed == []

    first = cache.run(POSE, IMAGES, _shape)
    second = cache.run(POSE, IMAGES, _shape)

    assert first.value == second.value == (1, 1, HEIGHT, WIDTH)
    assert placement.placed == ["pose"]
    assert cache.loaded() == (POSE,)
    assert first.load_ms > 0 and second.load_ms == 0
    assert first.forward_ms > 0 and first.decode_ms > 0


def test_the_answer_is_the_networks_own(random_mini: Path) -> None:
    images = torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))
    weights = models.load_weights("depth", "mini", torch.float32, CPU).state_dict
    network = models.build_network(NetworkConfig.from_name("depth", "mini"), weights)
    seen = []

    answer = ModelCache("cpu").run(DEPTH, images, lambda output: (seen.append(output), output.numpy())[1])

    with torch.inference_mode():
        expected = network(images)
    assert seen[0].dtype == torch.float32
    assert np.allclose(answer.value, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("images", "most", "expected"), [(100, 8, 8), (8, 8, 8), (7.9, 8, 4), (3, 8, 2), (0, 8, 1), (100, 2, 2)]
)
def test_as_many_images_go_at_once_as_a_share_of_the_memory_holds(
    images: float, most: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ModelCache("cpu", strategy=FakePlacement())
    assert cache.images_at_once(POSE, most) == 1  # not in memory yet
    cache.load(POSE)
    image = cache._entries[POSE].recipe.run_bytes
    monkeypatch.setattr(cache, "_room", lambda: images * image / models._RUN_SHARE)

    assert cache.images_at_once(POSE, most) == expected


def test_what_ran_is_told() -> None:
    info = ModelCache("cpu", strategy=FakePlacement()).run(SEGMENTATION, IMAGES, _shape).info

    assert info == ModelInfo(
        task="segmentation",
        size="mini",
        device="cpu",
        device_title="CPU",
        precision="float32",
        compiled=False,
        file="sapiens_mini_segmentation.safetensors",
        license="Apache-2.0",
    )


def test_the_precision_is_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "choose_precision", lambda device: torch.bfloat16)
    given, decoded = [], []
    placement = FakePlacement(forward=lambda images: (given.append(images.dtype), images)[1])

    answer = ModelCache("cpu", strategy=placement).run(DEPTH, IMAGES, lambda out: decoded.append(out.dtype))

    assert given == [torch.bfloat16] and decoded == [torch.float32]
    assert answer.info.precision == "bfloat16"


def test_ten_at_once_get_ten_answers_from_one_load(monkeypatch: pytest.MonkeyPatch) -> None:
    placement, located, told = FakePlacement(), [], []
    everybody = threading.Barrier(10)
    here = threading.Event()
    locate = models.locate

    def slow_locate(*arguments: object, progress, **options: object) -> Path:
        located.append(arguments)
        progress("Downloading: 1 of 2 MB", 0.5)
        here.wait(SECONDS)
        return locate(*arguments, **options)

    def progress(sentence: str, share: float | None) -> None:
        if sentence.startswith("Downloading"):
            told.append(share)
            if len(told) == 10:
                here.set()

    monkeypatch.setattr(models, "locate", slow_locate)
    cache = ModelCache("cpu", strategy=placement)

    def visit(number: int) -> int:
        everybody.wait(SECONDS)
        return cache.run(POSE, IMAGES + number, lambda output: int(output[0, 0, 0, 0]), progress).value

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(visit, range(10)))

    assert answers == list(range(10))
    assert placement.placed == ["pose"]
    assert len(located) == 1
    assert told == [0.5] * 10


def test_all_work_is_done_in_one_thread(_thread: DeviceThread) -> None:
    threads: set[int] = set()

    def forward(images: Tensor) -> Tensor:
        threads.add(threading.get_ident())
        return images

    placement = FakePlacement(forward)
    cache = ModelCache("cpu", strategy=placement)
    keys = [POSE, SEGMENTATION, DEPTH, NORMAL] * 3
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda key: cache.run(key, IMAGES, lambda _: threads.add(threading.get_ident())), keys))
    _thread.call(lambda _: threads.add(threading.get_ident()))

    assert len(threads) == 1
    assert placement.threads == threads


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run take the same memory beyond the weights."""
    monkeypatch.setattr(models, "start_peak", lambda device: lambda: PEAK)


@pytest.mark.usefixtures("peak")
def test_the_least_recently_used_goes_when_the_budget_is_reached() -> None:
    placement = FakePlacement()
    cache = ModelCache("cpu", budget=_bytes_for(3), strategy=placement)
    for key in (POSE, SEGMENTATION, DEPTH):
        cache.run(key, IMAGES, _shape)
    assert cache.loaded() == (POSE, SEGMENTATION, DEPTH)

    cache.run(POSE, IMAGES, _shape)
    cache.run(NORMAL, IMAGES, _shape)
    assert cache.loaded() == (DEPTH, POSE, NORMAL)

    cache.run(SEGMENTATION, IMAGES, _shape)
    assert cache.loaded() == (POSE, NORMAL, SEGMENTATION)
    assert placement.placed == ["pose", "segmentation", "depth", "normal", "segmentation"]


@pytest.mark.usefixtures("peak")
def test_the_budget_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENS_MEMORY_GB", str(_bytes_for(1) / 1e9))
    cache = ModelCache("cpu", strategy=FakePlacement())

    cache.run(POSE, IMAGES, _shape)
    cache.run(DEPTH, IMAGES, _shape)

    assert cache.loaded() == (DEPTH,)


@pytest.mark.usefixtures("peak")
def test_without_a_budget_what_is_free_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ModelCache("cpu", strategy=FakePlacement())
    monkeypatch.setattr(models, "available_bytes", lambda _: _bytes_for(3) - LARGEST * len(cache.loaded()))

    for key in (POSE, SEGMENTATION, DEPTH, NORMAL):
        cache.run(key, IMAGES, _shape)

    assert cache.loaded() == (SEGMENTATION, DEPTH, NORMAL)


def test_the_measured_peak_of_a_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "start_peak", lambda device: lambda: 3 * LARGEST)
    cache = ModelCache("cpu", budget=_bytes_for(3), strategy=FakePlacement())

    for key in (POSE, SEGMENTATION, DEPTH):
        cache.run(key, IMAGES, _shape)

    assert cache.loaded() == (DEPTH,)  # 4 of them fit, 3 of which are kept free for the run


@pytest.mark.parametrize("sized_by", ["argument", "measurement"])
def test_a_model_larger_than_all_memory_is_refused_in_plain_words(
    sized_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "available_bytes", lambda _: 10_000_000)
    placement = FakePlacement()
    budget = 10_000_000 if sized_by == "argument" else None
    cache = ModelCache("cpu", budget=budget, strategy=placement)

    with pytest.raises(
        MemoryExhausted, match=r"Mini \(pose\) needs [12]\d MB of memory, of which 10 MB are"
    ) as caught:
        cache.run(POSE, IMAGES, _shape)

    assert ("SAPIENS_MEMORY_GB" in str(caught.value)) is (sized_by == "argument")
    assert placement.placed == []


def test_on_the_cpu_the_run_must_fit_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without memory ends the whole process, where a GPU raises an error that can be handled."""
    placement = FakePlacement()
    room = LARGEST + 1_000_000
    monkeypatch.setattr(models, "available_bytes", lambda _: room)

    with pytest.raises(MemoryExhausted):
        ModelCache("cpu", strategy=placement).run(SEGMENTATION, IMAGES, _shape)
    ModelCache("cpu", budget=room, strategy=placement).run(SEGMENTATION, IMAGES, _shape)

    assert placement.placed == ["segmentation"]


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize("where", ["load", "run", "decode"])
def test_out_of_memory_once_makes_room_and_tries_again(where: str, error: Exception) -> None:
    failures: list[Exception] = []

    def fail_once(place: str) -> None:
        if place == where and not failures and cache.loaded()[:1] == (POSE,):
            failures.append(error)
            raise error

    class Placement(FakePlacement):
        def place(self, network: SapiensNetwork, device: torch.device, dtype: torch.dtype) -> Placed:
            if network.config.task == "depth":
                fail_once("load")
            return super().place(network, device, dtype)

    def forward(images: Tensor) -> Tensor:
        if images[0, 0, 0, 0] == 1:
            fail_once("run")
        return images

    cache = ModelCache("cpu", strategy=Placement(forward))
    cache.run(POSE, IMAGES, _shape)
    cache.run(NORMAL, IMAGES, _shape)

    answer = cache.run(DEPTH, IMAGES + 1, lambda output: (fail_once("decode"), "answer")[1])

    assert answer.value == "answer"
    assert failures == [error]
    assert cache.loaded() == (DEPTH,)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_twice_is_said_in_plain_words(error: Exception) -> None:
    def forward(images: Tensor) -> Tensor:
        if images[0, 0, 0, 0] == 1:
            raise error
        return images

    cache = ModelCache("cpu", strategy=FakePlacement(forward))
    cache.run(POSE, IMAGES, _shape)

    with pytest.raises(
        MemoryExhausted, match=r"memory of the CPU is too small for Mini \(depth\).*smaller size"
    ):
        cache.run(DEPTH, IMAGES + 1, _shape)

    assert cache.loaded() == ()
    assert cache.run(DEPTH, IMAGES, _shape).value == (1, 3, HEIGHT, WIDTH)


def test_out_of_memory_twice_while_loading_is_said_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def place(*_: object) -> Placed:
        raise torch.OutOfMemoryError("CUDA out of memory")

    placement = FakePlacement()
    monkeypatch.setattr(placement, "place", place)

    with pytest.raises(MemoryExhausted):
        ModelCache("cpu", strategy=placement).run(POSE, IMAGES, _shape)


@pytest.mark.parametrize(
    "error", [ValueError("odd"), RuntimeError("size mismatch"), DemoError("no"), KeyError("x")]
)
def test_other_errors_travel_once_and_the_next_visitor_is_served(error: Exception) -> None:
    tries = []

    def decode(_: Tensor) -> None:
        tries.append(1)
        raise error

    cache = ModelCache("cpu", strategy=FakePlacement())
    with pytest.raises(type(error)) as caught:
        cache.run(POSE, IMAGES, decode)

    assert caught.value is error
    assert tries == [1]
    assert cache.run(POSE, IMAGES, lambda _: 5).value == 5
    assert cache.loaded() == (POSE,)


def test_a_checkpoint_that_cannot_be_had_is_said_and_asked_for_again(tmp_path: Path) -> None:
    cache = ModelCache("cpu", strategy=FakePlacement())
    own = ModelKey("pose", "mini", str(tmp_path / "mine.safetensors"))

    with pytest.raises(CheckpointError, match="mine.safetensors"):
        cache.run(own, IMAGES, _shape)
    (tmp_path / "mine.safetensors").write_bytes(_mini_file("pose").read_bytes())
    answer = cache.run(own, IMAGES, _shape)

    assert answer.info.file == "mine.safetensors"
    assert "user's own" in answer.info.license
    assert cache.loaded() == (own,)


def test_a_checkpoint_of_another_task_is_refused() -> None:
    own = ModelKey("pose", "mini", str(_mini_file("depth")))

    with pytest.raises(CheckpointError, match="not the pose network"):
        ModelCache("cpu", strategy=FakePlacement()).run(own, IMAGES, _shape)


def test_progress_is_told_in_the_visitors_thread() -> None:
    told: list[str] = []
    threads: set[int] = set()

    def progress(sentence: str, share: float | None) -> None:
        told.append(sentence)
        threads.add(threading.get_ident())

    ModelCache("cpu", strategy=FakePlacement()).run(POSE, IMAGES, _shape, progress)

    assert threads == {threading.get_ident()}
    assert told.index("Loading Mini") < told.index("Running Mini on the CPU")


def test_a_model_can_be_loaded_ahead() -> None:
    placement = FakePlacement()
    cache = ModelCache("cpu", strategy=placement)

    assert cache.load(POSE) > 0
    assert cache.load(POSE) == 0
    assert cache.loaded() == (POSE,)
    assert cache.run(POSE, IMAGES, _shape).load_ms == 0
    assert placement.placed == ["pose"]


def test_a_better_network_is_swapped_in_after_the_first_use(_thread: DeviceThread) -> None:
    swapped, uses = threading.Event(), []

    def better(placed: Placed, images: Tensor) -> Placed:
        uses.append((placed.compiled, tuple(images.shape), torch.is_inference_mode_enabled()))
        swapped.set()
        return Placed(placed.network, lambda images: images + 1, compiled=True)

    cache = ModelCache("cpu", strategy=FakePlacement(better=better))
    first = cache.run(POSE, IMAGES, lambda output: float(output.max()))
    assert swapped.wait(SECONDS)
    second = cache.run(POSE, IMAGES, lambda output: float(output.max()))
    cache.run(POSE, IMAGES, _shape)
    _thread.call(lambda _: None)

    assert (first.value, first.info.compiled) == (0.0, False)
    assert (second.value, second.info.compiled) == (1.0, True)
    assert uses == [(False, (1, 3, HEIGHT, WIDTH), True)]


def test_visitors_come_between_two_steps_of_making_a_network_faster(_thread: DeviceThread) -> None:
    order, done = [], threading.Event()

    class Placement(FakePlacement):
        def after_first_use(self, placed: Placed, images: Tensor) -> Iterator[Placed]:
            order.append("first step")
            visitor.start()
            while not _thread._jobs.qsize():
                time.sleep(0.001)
            yield placed
            order.append("second step")
            done.set()
            yield placed

    cache = ModelCache("cpu", strategy=Placement())
    visitor = threading.Thread(target=lambda: cache.run(DEPTH, IMAGES, lambda _: order.append("visitor")))
    cache.load(DEPTH)
    cache._entries[DEPTH].runs = 1  # not its first use: nothing is made faster for it
    cache.run(POSE, IMAGES, _shape)
    assert done.wait(SECONDS)
    visitor.join(SECONDS)

    assert order == ["first step", "visitor", "second step"]


@pytest.mark.parametrize("error", [RuntimeError("no compiler"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_failure_to_compile_goes_to_the_log_and_nothing_changes(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()

    def worse(placed: Placed, images: Tensor) -> Placed:
        failed.set()
        raise error

    cache = ModelCache("cpu", strategy=FakePlacement(better=worse))
    with caplog.at_level(logging.WARNING):
        cache.run(POSE, IMAGES, _shape)
        assert failed.wait(SECONDS)
        answer = cache.run(POSE, IMAGES, _shape)

    assert not answer.info.compiled
    assert f"Mini (pose) stays uncompiled: {error}" in caplog.text


def test_an_evicted_model_gives_its_memory_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = DeviceThread("patient", quiet_seconds=SECONDS)  # what waits for idle times holds no model
    monkeypatch.setattr(models, "device_thread", lambda name: thread)
    networks: list[weakref.ref[SapiensNetwork]] = []

    class Placement(FakePlacement):
        def place(self, network: SapiensNetwork, device: torch.device, dtype: torch.dtype) -> Placed:
            networks.append(weakref.ref(network))
            return super().place(network, device, dtype)

    cache = ModelCache("cpu", budget=_bytes_for(1), strategy=Placement())
    cache.run(POSE, IMAGES, _shape)
    assert networks[0]() is not None
    cache.run(DEPTH, IMAGES, _shape)

    assert networks[0]() is None
    assert networks[1]() is not None


def test_a_model_that_has_left_the_memory_is_not_compiled(
    random_mini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = DeviceThread("patient", quiet_seconds=SECONDS)
    monkeypatch.setattr(models, "device_thread", lambda name: thread)
    improved, done = [], threading.Event()
    placement = FakePlacement(
        better=lambda placed, _: (improved.append(placed.network.config.task), placed)[1]
    )
    cache = ModelCache("cpu", budget=_bytes_for(1), strategy=placement)

    for key in (POSE, DEPTH, POSE):
        cache.run(key, IMAGES, _shape)
    thread._quiet_seconds = 0.0
    thread.when_idle(done.set, "Looking")
    thread.call(lambda _: None)
    assert done.wait(SECONDS)

    assert cache.loaded() == (POSE,)
    assert improved == ["pose"]  # neither depth, nor the pose network that had to go in between


def test_settings_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENS_COMPILE", "turbo")
    with pytest.raises(DemoError, match="SAPIENS_COMPILE"):
        ModelCache("cpu")
    monkeypatch.setenv("SAPIENS_COMPILE", "off")
    monkeypatch.setenv("SAPIENS_MEMORY_GB", "much")
    with pytest.raises(DemoError, match="SAPIENS_MEMORY_GB"):
        ModelCache("cpu")


def test_a_device_that_is_not_there_is_refused_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "_cuda_fault", devices._cuda_fault.__wrapped__)
    cache = ModelCache("cuda")

    with pytest.raises(DemoError, match="no CUDA GPU"):
        cache.run(POSE, IMAGES, _shape)


@pytest.mark.parametrize(
    ("size", "title"), [("mini", "Mini"), ("0.3b", "Sapiens 0.3B"), ("2b", "Sapiens 2B")]
)
def test_titles(size: str, title: str) -> None:
    assert ModelKey("depth", size).title == title


@pytest.mark.parametrize("task", ["pose", "segmentation", "depth", "normal"])
def test_the_bytes_of_weights_are_known_before_they_are_read(task: str) -> None:
    config = NetworkConfig.from_name(task, "mini")
    weights = models.load_weights(task, "mini", torch.bfloat16, CPU).state_dict

    expected = sum(tensor.nbytes for tensor in weights.values())
    assert models._weight_bytes(config, torch.bfloat16) == expected


def _bytes_for(count: int) -> int:
    """Return a budget for some Mini models, one of them at work, and no more."""
    return count * LARGEST + PEAK


def _mini_file(task: str) -> Path:
    return models.locate(task, "mini")

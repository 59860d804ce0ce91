from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sapiens_demo.errors import DemoError
from sapiens_demo.network import NetworkConfig, SapiensNetwork
from sapiens_demo.placement import CompiledDiffers, LazyPlacement, Placed, check_equal

CPU = torch.device("cpu")
COMPILE = torch.compile


@pytest.fixture(scope="module")
def network() -> SapiensNetwork:
    return _network()


def _network(
    depth: int = 1, image_size: tuple[int, int] = (64, 48), task: str = "segmentation"
) -> SapiensNetwork:
    config = NetworkConfig(
        task=task,
        embed_dim=16,
        depth=depth,
        num_heads=2,
        mlp_dim=32,
        image_size=image_size,
        patch_padding=0,
        deconv_channels=(8,),
        conv_channels=(8,),
        out_channels=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SapiensNetwork(config).eval().requires_grad_(False)


def _images(count: int = 1, height: int = 64) -> Tensor:
    return torch.randn(count, 3, height, 48, generator=torch.Generator().manual_seed(count))


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and guard as ever, but run the traced graph in Python: building C++ takes a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("mode", "variable", "expected"),
    [
        (None, None, "default"),
        (None, "", "default"),
        (None, "off", "off"),
        (None, " Max-Autotune", "max-autotune"),
        (None, "graphs", "graphs"),
        ("off", "default", "off"),
    ],
)
def test_the_mode_is_read(
    mode: str | None, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAPIENS_COMPILE", raising=False)
    if variable is not None:
        monkeypatch.setenv("SAPIENS_COMPILE", variable)

    assert LazyPlacement(mode).mode == expected


@pytest.mark.parametrize("mode", ["fast", "reduce-overhead", "1"])
def test_an_unknown_mode_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENS_COMPILE", mode)

    with pytest.raises(DemoError, match=f"'{mode}'.*off, default, graphs, max-autotune or whole"):
        LazyPlacement()


@pytest.mark.parametrize("mode", ["off", "default", "max-autotune"])
def test_the_first_visitor_is_served_eagerly(mode: str, network: SapiensNetwork) -> None:
    placed = LazyPlacement(mode, device_types=("cpu",), least_weights=0).place(network, CPU, torch.float32)

    assert not placed.compiled
    assert placed.network is network
    assert torch.equal(placed(_images()), network(_images()))


def test_small_networks_are_not_compiled(network: SapiensNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("this must not be compiled"))
    placement = LazyPlacement("default", device_types=("cpu",))
    placed = placement.place(network, CPU, torch.float32)

    assert not list(placement.after_first_use(placed, _images()))


@pytest.mark.parametrize(
    ("mode", "device_types"), [("off", ("cpu",)), ("default", ("cuda",)), ("max-autotune", ())]
)
def test_nothing_is_compiled_where_it_is_off_or_does_not_pay(
    mode: str, device_types: tuple[str, ...], network: SapiensNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("this must not be compiled"))
    placement = LazyPlacement(mode, device_types, least_weights=0)
    placed = placement.place(network, CPU, torch.float32)

    assert not list(placement.after_first_use(placed, _images()))


@pytest.mark.parametrize("mode", ["default", "graphs", "whole"])
@pytest.mark.usefixtures("without_compiler")
def test_a_compiled_network_computes_the_same_for_any_batch_and_never_compiles_again(
    network: SapiensNetwork, mode: str
) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    placement = LazyPlacement(mode, device_types=("cpu",), least_weights=0)
    # All networks share one forward function, and torch gives up on one compiled too often.
    with torch.inference_mode(), torch._dynamo.config.patch(recompile_limit=1):
        placed = placement.place(network, CPU, torch.float32)
        *steps, compiled = placement.after_first_use(placed, _images())
        graphs = counters["stats"]["unique_graphs"]
        examples = [_images(1), _images(2), _images(3), _images(7), _images(1, height=96)]
        differences = [(compiled(images) - placed(images)).abs().max().item() for images in examples]

    assert compiled.compiled
    assert compiled.network is network
    assert max(differences) < 1e-5
    assert graphs == 2 * (1 if mode == "whole" else 3)  # one photo and several, of each part
    assert counters["stats"]["unique_graphs"] == graphs
    assert steps == [placed] * graphs  # until all is done, nobody is served with less
    assert not list(placement.after_first_use(compiled, _images()))


def test_layers_share_what_was_compiled_and_sizes_of_other_networks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []  # sides of tensors that each compiled graph leaves open
    ran: list[int] = []

    def backend(graph: torch.fx.GraphModule, examples: list[Tensor | torch.SymInt]) -> Callable[..., object]:
        number = len(made)
        made.append(sum(isinstance(example, (int, torch.SymInt)) for example in examples))
        return lambda *inputs: (ran.append(number), graph(*inputs))[1]

    monkeypatch.setattr(
        torch, "compile", lambda function, mode, **how: COMPILE(function, backend=backend, **how)
    )
    torch._dynamo.reset()
    placement = LazyPlacement("default", device_types=("cpu",), least_weights=0)
    with torch.inference_mode():
        for network in (_network(depth=3), _network(depth=5), _network(image_size=(96, 64))):
            images = torch.zeros(1, 3, *network.config.image_size)
            *_, placed = placement.after_first_use(placement.place(network, CPU, torch.float32), images)
            ran.clear()
            placed(images)
            assert len(ran) == 2 + network.config.depth and len(set(ran)) == 3
    assert len(made) == 2 * 2 * 3  # two image sizes, one image and several, three parts
    assert made == [0, 0, 0, 1, 1, 1] * 2  # the number of images


@pytest.mark.parametrize("fault", [2.0, float("nan")])
def test_a_compiled_network_that_computes_something_else_is_refused(
    fault: float, network: SapiensNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda part, **_: lambda *given: _spoiled(part(*given), fault))
    placement = LazyPlacement("default", device_types=("cpu",), least_weights=0)
    placed = placement.place(network, CPU, torch.float32)

    with torch.inference_mode(), pytest.raises(CompiledDiffers) as raised:
        list(placement.after_first_use(placed, _images()))
    assert raised.value.refused.compiled  # for the bench


def _spoiled(output: Tensor | tuple, fault: float) -> Tensor | tuple:
    return output * fault if isinstance(output, Tensor) else output


@pytest.mark.parametrize(
    ("dtype", "noise", "passes"),
    [
        (torch.float32, 1e-4, True),
        (torch.float32, 1e-2, False),
        (torch.float16, 5e-3, True),
        (torch.float16, 5e-2, False),
        (torch.bfloat16, 2e-2, True),
        (torch.bfloat16, 1e-1, False),
    ],
)
def test_the_tolerance_follows_the_precision(dtype: torch.dtype, noise: float, passes: bool) -> None:
    eager = torch.randn(1, 4, 32, 24, generator=torch.Generator().manual_seed(0)).to(dtype)
    compiled = (eager.float() * (1 + noise)).to(dtype)

    if passes:
        check_equal(compiled, eager, dtype)
    else:
        with pytest.raises(CompiledDiffers):
            check_equal(compiled, eager, dtype)


def test_heatmaps_in_float32_of_a_network_in_bfloat16_may_differ_as_bfloat16_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda part, **_: lambda *given: _spoiled(part(*given), 1.01))
    network = _network(task="pose").to(torch.bfloat16)
    placement = LazyPlacement("whole", device_types=("cpu",), least_weights=0)
    placed = placement.place(network, CPU, torch.bfloat16)
    images = _images().to(torch.bfloat16)

    with torch.inference_mode():
        assert placed(images).dtype == torch.float32
        assert list(placement.after_first_use(placed, images))[-1].compiled


def test_placed_runs_its_forward(network: SapiensNetwork) -> None:
    assert torch.equal(Placed(network, lambda images: images + 1)(torch.zeros(1)), torch.ones(1))


class Watched(torch.nn.Module):
    """Note on how many threads it runs."""

    def __init__(self, weights: int) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.empty(weights, device="meta"))
        self.threads: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.threads.append(torch.get_num_threads())
        if images.isnan().any():
            raise RuntimeError("fails")
        return images


@pytest.mark.parametrize(
    ("weights", "images", "threads"),
    [
        pytest.param(2_000_000, (1, 3, 256, 192), 1, id="half of Mini, small"),
        pytest.param(4_000_000, (1, 3, 384, 288), 2, id="Mini, one image"),
        pytest.param(4_000_000, (2, 3, 384, 288), 3, id="Mini, two"),
        pytest.param(4_000_000, (8, 3, 384, 288), 3, id="Mini, eight, and no more than there are"),
        pytest.param(300_000_000, (1, 3, 1024, 768), 3, id="0.3B"),
    ],
)
def test_a_cpu_gives_a_network_as_many_threads_as_it_is_worth(
    weights: int, images: tuple[int, ...], threads: int
) -> None:
    network = Watched(weights)
    placed = LazyPlacement("off").place(network, CPU, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        placed(torch.zeros(images))
        assert network.threads == [threads] and torch.get_num_threads() == 3
        with pytest.raises(RuntimeError, match="fails"):
            placed(torch.full(images, torch.nan))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

"""Train the Mini models: one shared trunk first, then each task's own network."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from sapiens_demo.catalog import TASKS
from sapiens_demo.devices import cpu_gains_from_bfloat16
from sapiens_demo.network import NetworkConfig, SapiensNetwork, resize_position_table
from sapiens_demo.training.dataset import TrainingViews
from sapiens_demo.training.initial import initialise
from sapiens_demo.training.losses import LOSSES
from sapiens_demo.training.muon import Muon
from sapiens_demo.weights import read_state_dict

_MEAN = (123.675, 116.28, 103.53)
_DEVIATION = (58.395, 57.12, 57.375)

# Tasks that are trained together on one trunk.
GROUPS = {"joint": TASKS, "dense": ("segmentation", "depth", "normal")}
# Brings the gradients that the four losses send into the trunk to a similar length; unweighted, pose's is
# five times normals'.
_LOSS_WEIGHTS = {"pose": 0.4, "segmentation": 1.0, "depth": 0.7, "normal": 1.5}
# Where several tasks train together, each head sees only a share of every batch, for the time it costs.
_BATCH_SHARES = {
    "joint": {"pose": 0.5, "segmentation": 0.5, "depth": 0.25, "normal": 0.25},
    "dense": {"segmentation": 0.75, "depth": 0.5, "normal": 0.5},
}
# How often a view is one person's crop, as pose sees people, and not the whole picture.
_PERSON_SHARES = {
    "joint": 0.6,
    "dense": 0.35,
    "pose": 0.9,  # whole pictures of several people teach it nothing
    "segmentation": 0.35,
    "depth": 0.35,
    "normal": 0.35,
}
# Muon's steps are in other units than AdamW's.
_MUON_RATE = 4.0
_EMA_DECAY = 0.998
_SAVE_SECONDS = 120


@dataclass(frozen=True)
class Run:
    """Describe one training run.

    Args:
        task: a task, or one of GROUPS, whose tasks share a trunk.
        data: folder of samples.
        out: folder for state, logs and pictures.
        minutes: wall-clock length of the schedule; a resumed run goes on where it stopped.
        image_size: (H, W) of the input.
        batch_size: pictures a step.
        learning_rate: highest rate of the schedule.
        seed: of weights and views.
        start: whose weights to begin with: state of an earlier run, folder of shipped files, or None.
        workers: processes that prepare views; 0 prepares them in this one.
        steps: steps after which to stop early, or None.
        log_steps: steps between two rows of the log.
        compile: whether to fuse networks and losses, for a third less time; wants a C++ compiler.
    """

    task: str
    data: Path
    out: Path
    minutes: float
    image_size: tuple[int, int]
    batch_size: int = 16
    learning_rate: float = 1e-3
    seed: int = 1
    start: Path | None = None
    workers: int = 1
    steps: int | None = None
    log_steps: int = 50
    compile: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the tasks that this run trains."""
        return GROUPS.get(self.task, (self.task,))


class SharedTrunk(nn.Module):
    """Run the heads of several tasks on one backbone.

    Args:
        tasks: names of the tasks.
        image_size: (H, W) the position table is made for.
    """

    def __init__(self, tasks: tuple[str, ...], image_size: tuple[int, int]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(
            {
                task: SapiensNetwork(replace(NetworkConfig.from_name(task, "mini"), image_size=image_size))
                for task in tasks
            }
        )
        shared = self.networks[tasks[0]].backbone
        for network in self.networks.values():
            network.backbone = shared

    def forward(self, images: Tensor, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run every head on its rows of a batch.

        Args:
            images: (B, 3, H, W), normalised.
            rows: task to the indices of the pictures its head sees.

        Returns:
            Task to raw output map of those pictures.
        """
        features = next(iter(self.networks.values())).backbone(images)
        return {
            task: (network.head if task == "pose" else network.decode_head)(features[rows[task]])
            for task, network in self.networks.items()
        }


@dataclass
class _State:
    model: SharedTrunk
    average: SharedTrunk
    optimizers: tuple[torch.optim.Optimizer, ...]
    step: int = 0
    seconds: float = 0.0


def train(run: Run) -> None:
    """Train until the schedule's time is used up; go on with what `out` holds.

    Args:
        run: what to train.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(run.seed)
    state = _start(run, device)
    mean = torch.tensor(_MEAN, device=device).view(3, 1, 1)
    deviation = torch.tensor(_DEVIATION, device=device).view(3, 1, 1)
    views = _views(run, state.step)
    shares = _BATCH_SHARES.get(run.task, {run.task: 1.0})
    measures = {task: LOSSES[task] for task in run.tasks}
    if run.compile:
        measures = {task: torch.compile(measure) for task, measure in measures.items()}
        _compile(state.model)
    began, offset = time.monotonic(), state.seconds
    saved = time.monotonic()
    sums = dict.fromkeys(run.tasks, 0.0)
    for batch in views:
        state.seconds = offset + time.monotonic() - began
        progress = state.seconds / (run.minutes * 60)
        if progress >= 1 or state.step == run.steps:
            break
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        batch["progress"] = torch.full((run.batch_size,), progress, device=device)
        images = (batch["image"].float() - mean) / deviation
        losses = _step(state, images, batch, _rate(run, state.step, progress), shares, measures)
        sums = {task: sums[task] + losses[task] for task in run.tasks}
        if state.step % run.log_steps == 0:
            _log(run, state, {task: total / run.log_steps for task, total in sums.items()})
            sums = dict.fromkeys(run.tasks, 0.0)
        if time.monotonic() - saved > _SAVE_SECONDS:
            _save(run, state)
            saved = time.monotonic()
    _save(run, state)


def _compile(model: SharedTrunk) -> None:
    """Fuse what makes up the networks, in place; names of parameters stay."""
    networks = list(model.networks.values())
    heads = [module for network in networks for name, module in network.named_children() if "head" in name]
    for module in (*networks[0].backbone.layers, *heads):
        module.compile()


def _views(run: Run, first_step: int):
    length = 10**7
    data = TrainingViews(run.data, run.image_size, length, run.seed, _PERSON_SHARES[run.task])
    order = range(first_step * run.batch_size, length)
    return DataLoader(
        data,
        run.batch_size,
        sampler=order,
        num_workers=run.workers,
        drop_last=True,
        prefetch_factor=4 if run.workers else None,
        worker_init_fn=_quiet_worker,
    )


def _quiet_worker(_: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _start(run: Run, device: torch.device) -> _State:
    model = SharedTrunk(run.tasks, run.image_size)
    for network in model.networks.values():
        initialise(network)
    if run.start:
        load_weights(model, _read_weights(run.start, run.tasks))
    model.to(device)
    average = SharedTrunk(run.tasks, run.image_size).to(device).requires_grad_(False)
    average.load_state_dict(model.state_dict())
    state = _State(model, average, _optimizers(model, run.learning_rate))
    path = run.out / "state.pt"
    if path.exists():
        kept = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(kept["model"])
        average.load_state_dict(kept["average"])
        for optimizer, own in zip(state.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        state.step, state.seconds = kept["step"], kept["seconds"]
    return state


def _read_weights(start: Path, tasks: tuple[str, ...]) -> dict[str, Tensor]:
    """Read a state dict of SharedTrunk from a run's state or from shipped files, whose tasks may differ."""
    if start.is_file():
        return torch.load(start, map_location="cpu", weights_only=True)["average"]
    return {
        f"networks.{task}.{name}": tensor.float()
        for task in tasks
        for name, tensor in read_state_dict(start / f"sapiens_mini_{task}.safetensors").items()
    }


def _optimizers(model: SharedTrunk, rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Give the transformer's matrices to Muon and the rest to AdamW."""
    trunk = next(iter(model.networks.values())).backbone
    matrices = [weight for weight in trunk.layers.parameters() if weight.ndim == 2]
    taken = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in taken]
    groups = [
        {"params": [weight for weight in others if weight.ndim > 1], "weight_decay": 0.05},
        {"params": [weight for weight in others if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return Muon(matrices, lr=rate * _MUON_RATE), torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def load_weights(model: SharedTrunk, weights: dict[str, Tensor]) -> None:
    """Fill a model from another run's weights: its tasks are picked, the position table is resized.

    Args:
        model: the model to fill.
        weights: state dict of a SharedTrunk that has at least the model's tasks.
    """
    grid = next(iter(model.networks.values())).config.grid_size
    picked = {}
    for name, own in model.state_dict().items():
        value = weights[name]
        if name.endswith("pos_embed") and value.shape != own.shape:
            rows = round((value.shape[1] * grid[0] / grid[1]) ** 0.5)
            value = resize_position_table(value, (rows, value.shape[1] // rows), grid)
        picked[name] = value
    model.load_state_dict(picked)


def _rate(run: Run, step: int, progress: float) -> float:
    warm = min(1.0, (step + 1) / 100)
    return (
        run.learning_rate
        * warm
        * (0.01 + 0.99 * 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item()))
    )


def _step(
    state: _State,
    images: Tensor,
    batch: dict[str, Tensor],
    rate: float,
    shares: dict[str, float],
    measures: dict[str, Callable[..., Tensor]],
) -> dict[str, float]:
    muon, adam = state.optimizers
    for optimizer, own in ((muon, rate * _MUON_RATE), (adam, rate)):
        for group in optimizer.param_groups:
            group["lr"] = own
    state.model.train()
    rows = _rows(shares, batch["weights"])
    with _precision(images.device):
        outputs = state.model(images, rows)
    losses = {
        task: measures[task](output.float(), _targets(state.model, task, batch, rows[task]))
        for task, output in outputs.items()
    }
    total = sum(_LOSS_WEIGHTS[task] * loss for task, loss in losses.items())
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    for optimizer in state.optimizers:
        optimizer.step()
    state.step += 1
    decay = min(_EMA_DECAY, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.average.parameters()), list(state.model.parameters()), 1 - decay)
    return {task: loss.item() for task, loss in losses.items()}


@contextmanager
def _precision(device: torch.device) -> Iterator[None]:
    """Multiply in bfloat16 where that is faster."""
    narrow = device.type == "cuda" or cpu_gains_from_bfloat16()
    with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
        if device.type == "cuda":
            yield
        else:  # on CPUs the fused attention's way back takes four times as long as plain products
            with sdpa_kernel(SDPBackend.MATH):
                yield


def _targets(model: SharedTrunk, task: str, batch: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Pick a head's views, and move their maps by what the shared patches lie off the task's own.

    A patch embedding padded by p sees a picture as an unpadded one sees it p pixels further down and right.
    """
    own = {name: value[rows] for name, value in batch.items()}
    network = model.networks[task]
    shared_padding = network.backbone.patch_embed.projection.padding[0]
    off = (shared_padding - network.config.patch_padding) // 2  # maps have half the input's resolution
    if off == 0:
        return own
    height, width = own["mask"].shape[1:]
    down = (torch.arange(height, device=rows.device) - off).clamp(0, height - 1)
    right = (torch.arange(width, device=rows.device) - off).clamp(0, width - 1)
    return {
        **own,
        **{name: own[name][..., down[:, None], right] for name in ("parts", "mask", "depth", "normals")},
    }


def _rows(shares: dict[str, float], keypoint_weights: Tensor) -> dict[str, Tensor]:
    """Share a batch out among the heads; pose, where it is the first, gets views with labelled keypoints."""
    count = len(keypoint_weights)
    order = torch.randperm(count, device=keypoint_weights.device)
    posed = keypoint_weights[order].any(dim=1)
    order = torch.cat([order[posed], order[~posed]])
    rows, start = {}, 0
    for task, share in shares.items():
        own = max(1, round(share * count))
        rows[task] = order[torch.arange(start, start + own, device=order.device) % count]
        start += own
    return rows


def _log(run: Run, state: _State, losses: dict[str, float]) -> None:
    path = run.out / "log.csv"
    new = not path.exists()
    row = {
        "step": state.step,
        "minutes": round(state.seconds / 60, 2),
        **{k: round(v, 4) for k, v in losses.items()},
    }
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def _save(run: Run, state: _State) -> None:
    unfinished = run.out / "state.part"
    torch.save(
        {
            "model": state.model.state_dict(),
            "average": state.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
            "step": state.step,
            "seconds": state.seconds,
            "task": run.task,
            "image_size": list(run.image_size),
            "seed": run.seed,
        },
        unfinished,
    )
    unfinished.replace(run.out / "state.pt")

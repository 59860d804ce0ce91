"""Train the Mini models: trunks with the heads of one or several tasks, in turns over the same pictures."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sapiens_demo.catalog import TASKS
from sapiens_demo.devices import cpu_gains_from_bfloat16
from sapiens_demo.network import NetworkConfig, SapiensNetwork, resize_position_table
from sapiens_demo.training.constants import constant
from sapiens_demo.training.initial import initialise
from sapiens_demo.training.losses import LOSSES, choose_keypoints
from sapiens_demo.training.muon import Muon
from sapiens_demo.training.pool import PicturePool
from sapiens_demo.training.views import Chance, draw_views
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
        trunks: what to train, by name: tasks, and GROUPS of tasks, each on a trunk of its own.
        data: folder of samples; more may appear while the run goes on.
        out: folder for state and log of each trunk, in a sub-folder of its name.
        minutes: wall-clock length of the schedule; a resumed run goes on where it stopped.
        image_size: (H, W) of the input.
        first_size: (H, W) of the views of the run's first part, where less is learnt from far more views.
        first_share: how long that part is, 0 to 1.
        batch_size: views a step; as many pixels where views are smaller.
        learning_rate: highest rate of the schedule.
        seed: of weights and views. Views repeat where no pictures arrive while the run goes on.
        start: whose weights to begin with: folder of an earlier run, folder of shipped files, or None.
        workers: processes that read pictures; 0 reads them in this one.
        steps: steps after which to stop early, or None.
        log_steps: steps between two rows of the log.
        compile: whether to fuse networks and losses, for a third less time; wants a C++ compiler.
    """

    trunks: tuple[str, ...]
    data: Path
    out: Path
    minutes: float
    image_size: tuple[int, int]
    first_size: tuple[int, int] | None = None
    first_share: float = 0.0
    batch_size: int = 16
    learning_rate: float = 1e-3
    seed: int = 1
    start: Path | None = None
    workers: int = 1
    steps: int | None = None
    log_steps: int = 50
    compile: bool = False

    def view_size(self, progress: float) -> tuple[int, int]:
        """Return (H, W) of the views when a share of the run is over."""
        return self.first_size if self.first_size and progress < self.first_share else self.image_size

    def view_count(self, size: tuple[int, int]) -> int:
        """Return how many views of a size make a step."""
        return self.batch_size * self.image_size[0] * self.image_size[1] // (size[0] * size[1])


def tasks_of(trunk: str) -> tuple[str, ...]:
    """Return the tasks whose heads sit on a trunk."""
    return GROUPS.get(trunk, (trunk,))


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
        self._heatmaps = _heatmaps

    def forward(self, images: Tensor, rows: dict[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """Run every head on its rows of a batch.

        Args:
            images: (B, 3, H, W), normalised.
            rows: task to the indices of the pictures its head sees.
            chosen: (K,), indices of the keypoints that pose's head gives heatmaps of.

        Returns:
            Task to raw output map of those pictures.
        """
        features = next(iter(self.networks.values())).backbone(images)
        return {
            task: self._heatmaps(network.head, features[rows[task]], chosen)
            if task == "pose"
            else network.decode_head(features[rows[task]])
            for task, network in self.networks.items()
        }

    def fuse(self) -> None:
        """Compile what makes up the networks, in place; names of parameters stay."""
        networks = self.networks.values()
        heads = [network.decode_head for network in networks if network.config.task != "pose"]
        for module in (*next(iter(networks)).backbone.layers, *heads):
            module.compile(dynamic=False)
        self._heatmaps = torch.compile(_heatmaps, dynamic=False)


def _heatmaps(head: nn.Module, features: Tensor, chosen: Tensor) -> Tensor:
    """Run pose's head for some of the keypoints; the last layer is most of its work."""
    last = head.final_layer
    narrow = head.conv_layers(head.deconv_layers(features))
    return F.conv2d(narrow, last.weight[chosen], last.bias[chosen])


class _Training:
    """One trunk's models, optimisers, views and log."""

    def __init__(self, run: Run, trunk: str, device: torch.device) -> None:
        self.run, self.trunk = run, trunk
        self.out = run.out / trunk
        self.out.mkdir(parents=True, exist_ok=True)
        self.tasks = tasks_of(trunk)
        torch.manual_seed(run.seed)
        self.model = SharedTrunk(self.tasks, run.image_size)
        for network in self.model.networks.values():
            initialise(network)
        if run.start:
            load_weights(self.model, _read_weights(run.start, trunk))
        self.model.to(device)
        self.average = SharedTrunk(self.tasks, run.image_size).to(device).requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        self.optimizers = _optimizers(self.model, run.learning_rate)
        self.step, self.seconds = 0, 0.0
        if (self.out / "state.pt").exists():
            self._resume(device)
        self.chance = Chance(run.seed + self.step, device)
        self.shares = _BATCH_SHARES.get(trunk, {trunk: 1.0})
        self.measures = {task: LOSSES[task] for task in self.tasks}
        self.sums = dict.fromkeys(self.tasks, torch.zeros((), device=device))
        if run.compile:
            self.model.fuse()
            self.measures = {
                task: torch.compile(measure, dynamic=False) for task, measure in self.measures.items()
            }

    def _resume(self, device: torch.device) -> None:
        kept = torch.load(self.out / "state.pt", map_location=device, weights_only=True)
        self.model.load_state_dict(kept["model"])
        self.average.load_state_dict(kept["average"])
        for optimizer, own in zip(self.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        self.step, self.seconds = kept["step"], kept["seconds"]

    def advance(self, pool: PicturePool, progress: float) -> None:
        """Take one step, at `progress` of the schedule."""
        size = self.run.view_size(progress)
        share = _PERSON_SHARES[self.trunk]
        batch = draw_views(pool, self.run.view_count(size), size, share, self.chance)
        batch["progress"] = torch.full((len(batch["image"]),), progress, device=pool.device)
        batch["chosen"], batch["importance"] = choose_keypoints(pool.device)
        self._set_rates(progress)
        for task, loss in self._descend(batch).items():
            self.sums[task] = self.sums[task] + loss
        self.step += 1
        decay = min(_EMA_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        if self.step % self.run.log_steps == 0:
            self._log(pool)

    def _set_rates(self, progress: float) -> None:
        rate = _rate(self.run.learning_rate, self.step, progress)
        for optimizer, own in zip(self.optimizers, (rate * _MUON_RATE, rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = own

    def _descend(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.model.train()
        rows = _rows(self.shares, batch["weights"])
        with _precision(batch["image"].device):
            outputs = self.model(_normalised(batch["image"]), rows, batch["chosen"])
        losses = {
            task: self.measures[task](output.float(), _targets(self.model, task, batch, rows[task]))
            for task, output in outputs.items()
        }
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        sum(_LOSS_WEIGHTS[task] * loss for task, loss in losses.items()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return {task: loss.detach() for task, loss in losses.items()}

    def _log(self, pool: PicturePool) -> None:
        path = self.out / "log.csv"
        new = not path.exists()
        losses = {task: round(total.item() / self.run.log_steps, 4) for task, total in self.sums.items()}
        row = {"step": self.step, "minutes": round(self.seconds / 60, 2), "pictures": len(pool), **losses}
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(self.trunk, row, flush=True)
        self.sums = dict.fromkeys(self.tasks, torch.zeros((), device=pool.device))

    def save(self) -> None:
        """Write everything that going on needs."""
        unfinished = self.out / "state.part"
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "seconds": self.seconds,
                "image_size": list(self.run.image_size),
                "seed": self.run.seed,
            },
            unfinished,
        )
        unfinished.replace(self.out / "state.pt")


def train(run: Run) -> None:
    """Train until the schedule's time is used up; go on with what `out` holds.

    Args:
        run: what to train.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with PicturePool(run.data, device, run.workers) as pool:
        _train(run, pool, [_Training(run, trunk, device) for trunk in run.trunks])


def _train(run: Run, pool: PicturePool, trainings: list[_Training]) -> None:
    began, offset = time.monotonic(), trainings[0].seconds
    saved = began
    while True:
        pool.wait()
        seconds = offset + time.monotonic() - began
        progress = seconds / (run.minutes * 60)
        if progress >= 1 or trainings[0].step == run.steps:
            break
        for training in trainings:
            training.seconds = seconds
            training.advance(pool, progress)
        if time.monotonic() - saved > _SAVE_SECONDS:
            saved = time.monotonic()
            for training in trainings:
                training.save()
    for training in trainings:
        training.save()


def _read_weights(start: Path, trunk: str) -> dict[str, Tensor]:
    """Read a state dict of SharedTrunk from an earlier run's folder or from a folder of shipped files."""
    state = start / trunk / "state.pt"
    if state.exists():
        return torch.load(state, map_location="cpu", weights_only=True)["average"]
    return {
        f"networks.{task}.{name}": tensor.float()
        for task in tasks_of(trunk)
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
    adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    return Muon(matrices, lr=rate * _MUON_RATE), adam


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


def _rate(highest: float, step: int, progress: float) -> float:
    warm = min(1.0, (step + 1) / 100)
    return highest * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(progress * math.pi)))


def _normalised(images: Tensor) -> Tensor:
    mean, deviation = (constant(values, images.device).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
    return (images - mean) / deviation


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
    own = {name: value if name in ("chosen", "importance") else value[rows] for name, value in batch.items()}
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
    order = order[torch.argsort(~posed, stable=True)]
    rows, start = {}, 0
    for task, share in shares.items():
        own = max(1, round(share * count))
        rows[task] = order[torch.arange(start, start + own, device=order.device) % count]
        start += own
    return rows

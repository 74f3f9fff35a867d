"""The rounds of a recipe, one after the other, each from targets to weights; stopped at any moment, it goes on.

Step s of round r draws all its chance (crops, disturbances, masks, dropout, codes) from a seed made of the
recipe's, r and s. So the state of the random generators is no state: the last checkpoint says it all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import streams, targets
from .files import Folder, checkpoint_name, targets_name, weights_name
from .model import config, mask
from .perturb import perturb

if TYPE_CHECKING:
    import torch

    from .plan import Recipe, Round
    from .streams import Streams
    from .targets import Targets

Say = Callable[[str], None]

_LOG_STEPS = 10
_LOWEST = 0.02


@dataclass(frozen=True)
class Until:
    """When to stop for now: after so many seconds or steps of this call, whichever comes first. The next goes on."""

    seconds: float = math.inf
    steps: float = math.inf


def train(recipe: Recipe, work: Path, until: Until, device: str, say: Say) -> bool:
    """Train what is not trained yet in ``work/NAME``, from ``work/corpus``. Returns whether all rounds are done."""
    folder = Folder(work, recipe)
    todo = [number for number in range(1, len(recipe.rounds) + 1) if not (folder.path / weights_name(number)).is_file()]
    if not todo:
        return True
    budget = Budget(until)
    voices = streams.load(work / "corpus", recipe.speeds, max(recipe.crop_frames), device)
    hours = int(voices.length[voices.speeds.index("1/1")].sum()) / 16000 / 3600
    say(f"{len(voices.speakers)} speakers, {hours:.2f} h, at {len(voices.speeds)} speeds")
    return all(Training(recipe, number, voices, folder, say).run(budget) for number in todo)


class Budget:
    """What is left of an ``Until``."""

    def __init__(self, until: Until) -> None:
        self.until = until
        self.end = time.monotonic() + until.seconds
        self.steps = 0

    def spent(self) -> bool:
        """Whether to stop."""
        return self.steps >= self.until.steps or time.monotonic() >= self.end


class Training:
    """One round: its model and optimizer, begun anew or as the last checkpoint left them."""

    def __init__(self, recipe: Recipe, number: int, voices: Streams, folder: Folder, say: Say) -> None:
        import torch

        self.recipe, self.number, self.voices, self.folder, self.say = recipe, number, voices, folder, say
        self.plan: Round = recipe.rounds[number - 1]
        self.targets = self._targets() if recipe.objective == "hubert" else None
        torch.manual_seed(self._seed(0))
        self.model = self._model().to(voices.device)
        # Matrices decay, biases and the gains of norms do not.
        parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [value for value in parameters if value.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=self.plan.peak_rate,
            betas=(0.9, 0.98),
            eps=1e-6,
            fused=voices.device.type == "cuda",
        )
        self.step = 0
        self.log: list[dict[str, Any]] = []
        self._resume()

    def run(self, budget: Budget) -> bool:
        """Steps until the round is done (True) or the budget is spent (False); both leave their state on disk."""
        recent: list[dict[str, torch.Tensor]] = []
        self.model.train()
        while self.step < self.plan.steps:
            if budget.spent():
                self._save()
                return False
            recent.append(self._one_step())
            self.step += 1
            budget.steps += 1
            if self.step % _LOG_STEPS == 0 or self.step == self.plan.steps:
                # Only here does the CPU wait for a GPU.
                self._note({name: sum(float(row[name]) for row in recent) / len(recent) for name in recent[0]})
                recent = []
            if self.step % self.recipe.checkpoint_steps == 0:
                self._save()
        self.folder.save(weights_name(self.number), {"core": self.model.core.state_dict()})
        (self.folder.path / checkpoint_name(self.number)).unlink(missing_ok=True)
        return True

    def _one_step(self) -> dict[str, torch.Tensor]:
        import torch

        seed = self._seed(self.step + 1)
        torch.manual_seed(seed)  # for what transformers draws: dropout, the choice of codes
        generator = torch.Generator(self.voices.device).manual_seed(seed)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, self.plan, self.step)
        long, short = self.recipe.crop_frames
        frames = short if torch.rand(()).item() < self.recipe.short_share else long
        batch = max(2, round(self.recipe.audio_s * 16000 / streams.SHIFT / frames))
        with torch.no_grad():
            crops = self.voices.crops(batch, frames, generator)
            samples = perturb(crops.samples, generator)
            masked = mask(batch, frames, generator)
            labels = self.targets.at(crops) if self.targets else None
        with torch.autocast(samples.device.type, torch.bfloat16, enabled=samples.device.type == "cuda"):
            done = self.step / self.plan.steps
            loss, parts = self.model(samples, masked, labels=labels, done=done, generator=generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return {name: value.detach() for name, value in {"loss": loss, **parts}.items()}

    def _model(self) -> Any:
        """The objective around an encoder: the round before's, or a new one."""
        model = untrained(self.recipe, self.plan.clusters)
        if self.number > 1:
            model.core.load_state_dict(self._before())
        return model

    def _targets(self) -> Targets:
        """The round's targets: from the disk, or made and kept there."""
        import torch

        kept = self.folder.load(targets_name(self.number), str(self.voices.device))
        if kept:
            return targets.Targets(**{name: value for name, value in kept.items() if name != "recipe"})
        generator = torch.Generator(self.voices.device).manual_seed(self._seed(0))
        clusters = self.plan.clusters
        if self.plan.layer is None:
            made = targets.from_cepstra(self.voices, clusters, generator)
        else:
            teacher = untrained(self.recipe, 1).core.to(self.voices.device)
            teacher.load_state_dict(self._before())
            speeds = self.recipe.label_speeds
            made = targets.from_layer(self.voices, teacher, self.plan.layer, speeds, clusters, generator)
        self.say(f"round {self.number}: {clusters} clusters, perplexity {made.perplexity:.1f}")
        self.folder.save(targets_name(self.number), asdict(made))
        return made

    def _before(self) -> dict[str, torch.Tensor]:
        content = self.folder.load(weights_name(self.number - 1), str(self.voices.device))
        if content is None:
            raise FileNotFoundError(self.folder.path / weights_name(self.number - 1))
        return content["core"]

    def _resume(self) -> None:
        kept = self.folder.load(checkpoint_name(self.number), str(self.voices.device))
        if kept:
            self.model.load_state_dict(kept["model"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step, self.log = kept["step"], kept["log"]
            self.say(f"round {self.number}: goes on from step {self.step}")

    def _save(self) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        self.folder.save(checkpoint_name(self.number), {**state, "step": self.step, "log": self.log})

    def _note(self, parts: dict[str, float]) -> None:
        self.log.append({"step": self.step, **{name: round(value, 4) for name, value in parts.items()}})
        self.folder.write_log(self.log, self.number)
        said = ", ".join(f"{name} {value:.3f}" for name, value in parts.items())
        self.say(f"round {self.number}, step {self.step} of {self.plan.steps}: {said}")

    def _seed(self, step: int) -> int:
        """Different for every step of every round; step 0 is the round's beginning."""
        return (self.recipe.seed * 1000 + self.number) * 10_000_000 + step


def untrained(recipe: Recipe, clusters: int) -> Any:
    """An untrained encoder in ``core`` and the heads that its training needs, from torch's global seed."""
    if recipe.objective == "wav2vec2":
        from .contrast import Contrast

        return Contrast(config(recipe))
    from .hubert import MaskedPrediction

    return MaskedPrediction(config(recipe), clusters)


def rate(recipe: Recipe, plan: Round, step: int) -> float:
    """The learning rate of a step: straight up, level, then a cosine down."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    late = max(0.0, step / plan.steps - recipe.hold) / (1 - recipe.hold)
    return plan.peak_rate * warm * (_LOWEST + (1 - _LOWEST) * (1 + math.cos(math.pi * late)) / 2)

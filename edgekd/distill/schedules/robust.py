"""The student learns again, with noise on its latent (second stage of RKD-SC; Ding et al. 2025); experimental."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from edgekd.distill.schedule import Perturbation, Phase, Schedule
from edgekd.distill.taps import Taps
from edgekd.errors import UsageError
from edgekd.models.mode import evaluating
from edgekd.schema import Field, Schema, field_validator

if TYPE_CHECKING:
    from edgekd.distill.teach import TeachConfig


class Robust(Schedule):
    """The teacher teaches the student, then goes on to teach it while noise is added to the student's latent.

    The two stages, plain distillation and then distillation of a student with a noisy latent towards the clean teacher,
    are the paper's; their form is edgekd's own choice: the latent is what the classifier is given, the noise is white,
    Gaussian and relative to the power of each sample's latent, and losses, labels and learning rate are those of the
    first stage. What is evaluated and exported has no noise.
    """

    class Config(Schema):
        """The second stage."""

        snr_db: float | None = Field(
            default=10.0, ge=-30, le=100, description="signal-to-noise ratio of the latent, dB; null: no noise"
        )
        layer: str | None = Field(
            default=None,
            description="the latent: a module's path for what it gives, 'path:input' for what it is given; the input "
            "of the linear layer that gives the logits when absent",
        )
        epochs: int | None = Field(
            default=None, ge=1, le=100_000, description="as many as in the first stage if absent"
        )
        learning_rate: float | None = Field(default=None, gt=0, le=100, description="the first stage's if absent")

        @field_validator("layer")
        @classmethod
        def _is_a_place(cls, layer: str | None) -> str | None:
            path, colon, part = (layer if layer is not None else "head").partition(":")
            if not path or (colon and part != "input"):
                raise ValueError("write a module's path for what it gives, 'path:input' for what it is given")
            return layer

    config: Config
    experimental: ClassVar[bool] = True

    def phases(self, config: TeachConfig) -> list[Phase]:
        """Return the plain training, and the one with noise that goes on from it."""
        del config
        chosen = {"epochs": self.config.epochs, "learning_rate": self.config.learning_rate}
        noise = None
        if self.config.snr_db is not None:
            noise = LatentNoise(snr_db=self.config.snr_db, layer=self.config.layer)
        changes = {name: value for name, value in chosen.items() if value is not None}
        return [Phase(), Phase(goes_on=True, changes=changes, perturbation=noise)]


class LatentNoise(Perturbation):
    """White Gaussian noise on the latent of a network in train mode."""

    snr_db: float
    layer: str | None = None

    @contextmanager
    def applied(self, model: nn.Module, inputs: Tensor) -> Iterator[None]:
        """Add the noise for as long as the context lasts.

        Raises UsageError where no linear layer gives the logits, or the named layer gives no floats for `inputs`.
        """
        path = self.layer or f"{_head(model, inputs)}:input"
        with evaluating(model), torch.no_grad():
            _, (latent,) = Taps(model, [path])(model, inputs)
        if not latent.is_floating_point():
            raise UsageError(f"layer '{path}' gives {latent.dtype}, to which no noise can be added; name a later one")
        hook = self._hook(model.get_submodule(path.partition(":")[0]), is_input=path.endswith(":input"))
        try:
            yield
        finally:
            hook.remove()

    def _hook(self, module: nn.Module, *, is_input: bool) -> Any:
        def before(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (noisy(given[0], self.snr_db), *given[1:]) if module.training else given

        def after(module: nn.Module, given: tuple[Any, ...], returned: Tensor) -> Tensor:
            del given
            return noisy(returned, self.snr_db) if module.training else returned

        return module.register_forward_pre_hook(before) if is_input else module.register_forward_hook(after)


def noisy(latent: Tensor, snr_db: float) -> Tensor:
    """Return a latent (N, ...) with noise of `snr_db` decibels below the mean square of each sample.

    The noise grows with the latent, also for the gradient: a larger latent is no way out.
    """
    exact = latent.float()
    power = exact.square().mean(tuple(range(1, latent.dim())), keepdim=True)
    # The square root of a latent of zeros, as a dead ReLU gives it, would have no finite gradient.
    deviation = power.clamp_min(torch.finfo(power.dtype).tiny).sqrt() * 10 ** (-snr_db / 20)
    # Drawn on the CPU, because the state of its generator is what a training keeps.
    return (exact + deviation * torch.randn(latent.shape).to(latent.device)).to(latent.dtype)


def _head(model: nn.Module, inputs: Tensor) -> str:
    """Return the path of the linear layer that gives the logits."""
    linear = {path: module for path, module in model.named_modules() if path and isinstance(module, nn.Linear)}
    given: dict[str, object] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, path=path: given.update({path: out}))
        for path, module in linear.items()
    ]
    try:
        with evaluating(model), torch.no_grad():
            logits = model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    for path, out in given.items():
        if out is logits:
            return path
    has = f"its last one is '{[*linear][-1]}'" if linear else "it has none"
    raise UsageError(
        f"the latent of {type(model).__name__} cannot be found, because no linear layer gives its logits ({has}); "
        "name the latent in schedule_options: layer: PATH for what a module gives, or PATH:input for what it is given",
        "schedule",
    )

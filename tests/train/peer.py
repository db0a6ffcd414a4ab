"""One process of trainings that several run together, one after the other; prints what it saw as one line of JSON.

`python -m tests.train.peer FOLDER CASE...`, where a case is `dead`, `tapped`, `teach` or `train:OPTIMIZER[:EPOCHS]`,
which stops after so many epochs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekd.distill.loss import Loss, create
from edgekd.distill.objective import DistillObjective
from edgekd.errors import EdgekdError
from edgekd.train.answer import Answer
from edgekd.train.batches import Batch
from edgekd.train.loop import LoopConfig, train
from edgekd.train.parallel import Peers, joined


class Network(nn.Module):
    """No BatchNorm: its statistics would be those of a share."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.act = nn.ReLU()
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.act(self.conv(x)).mean((2, 3)))
        return out


class Batches:
    """Eight batches of 16, a fixed function of the epoch."""

    def __len__(self) -> int:
        return 8

    def epoch(self, number: int):
        random = torch.Generator().manual_seed(number)
        torch.manual_seed(7)
        teacher = Network(16)
        for _ in range(len(self)):
            images = torch.randn(16, 1, 8, 8, generator=random)
            with torch.no_grad():
                features = teacher.act(teacher.conv(images))
                answer = Answer(3 * teacher(images), (features,))
            yield Batch(images, torch.randint(0, 4, (16,), generator=random), answer)


class Dead(Loss):
    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        return (student.logits - teacher.logits).square().mean() * 0


def objective_of(case: str, model: nn.Module) -> DistillObjective:
    if case == "dead":
        return DistillObjective({"dead": Dead(Loss.Config())}, 1.0)
    if case == "train":
        return DistillObjective(create({"logits-kl": {"weight": 0.5}}), 0.5)
    made = DistillObjective(create({"featalign": {}}), 0.5, pairs={"features": [("act", "act")]})
    torch.manual_seed(3)
    made.prepare(model, next(iter(Batches().epoch(0))), 24)
    return made


def taught(folder: Path) -> list[float]:
    """Train a teacher and teach a student from its store, as the stages of a run do; return the losses."""
    from edgekd.artifact import ArtifactSet
    from edgekd.distill.teach import TeachConfig, teach
    from edgekd.train.stage import TeacherStage
    from tests.distill.tiny_run import context
    from tests.models import Mlp

    run = context(folder, model={"factory": "tests.models:Mlp"})
    options = {"epochs": 3, "batch": 32, "learning_rate": 0.05}
    stage = TeacherStage(TeacherStage.Config.model_validate(options))
    artifacts = stage.run(ArtifactSet(), run)
    taps = {"taps": {"features": [["relu", "relu"]]}}
    torch.manual_seed(1)
    config = TeachConfig.model_validate({**options, "losses": {"logits-kl": {}, "featalign": {}}, **taps})
    return list(teach(Mlp(8), artifacts, run, config, folder=folder / "t", title="student").losses)


def trained(case: str, folder: Path, peers: Peers) -> dict[str, object]:
    """Train as a case says, and return what was seen."""
    kind, *options = case.split(":")
    optimizer = options[0] if options else "sgd"
    stop = int(options[1]) if len(options) > 1 else None
    told: dict[str, object] = {}
    steps: list[float] = []
    torch.manual_seed(0)
    model = Network()
    objective = objective_of(kind, model)

    def on_step(step: int, trained: nn.Module) -> None:
        steps.append(float(trained.head.weight.detach().square().sum()))
        if stop is not None and step == stop * 8:
            raise KeyboardInterrupt

    config = LoopConfig(epochs=3, batch=16, learning_rate=0.05, optimizer=optimizer)
    try:
        told["losses"] = train(model, Batches(), objective, config, folder=folder, title="peer", on_step=on_step).losses
    except EdgekdError as error:
        told["error"] = str(error)
    except KeyboardInterrupt:
        from edgekd.train import resume

        state = resume.read(folder)
        told["losses"] = state.history.losses if state else []
    return told | {
        "rank": peers.rank,
        "steps": steps,
        "weights": [float(p.detach().double().sum()) for p in model.parameters()],
        "beside": [float(p.detach().double().square().sum()) for p in objective.parameters()],
    }


def main() -> None:
    folder, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    told: dict[str, dict[str, object]] = {}
    with joined() as peers:
        for case in cases:
            own = Path(folder) / case.replace(":", "-")
            told[case] = {"losses": taught(own)} if case == "teach" else trained(case, own, peers)
    print(json.dumps(told))


if __name__ == "__main__":
    main()

"""Whether a network that looks at a smaller image, and is wider or deeper for it, is right more often in the same time.

    python -m tools.bench_resolution FOLDER [--seeds 3] [--first 0] [--rounds 9] [--runtime openvino]

Resolution, width and depth go together in EfficientNet (Tan and Le 2019, arXiv 1905.11946). Here ResNets of three
blocks look at the 28 by 28 pixels of Fashion-MNIST as they are (WHOLE); others average them to 14 by 14 first (option
`shrink`), with the widths of the widest of these times WIDER and the blocks of DEPTHS. All are measured in rounds,
fp32, each next round in the opposite order, one thread; the share is of the latency that the widest has in the same
round, the median with the second smallest and second largest. Of the shrunk ones whose median is 1.01 times that of a
whole one at most, the one of most multiplications is its rival; the widest has three: of three blocks (`wider`), of its
own widths (`deeper`), and of the others (`both`).

They are trained by labels alone on IMAGES images with crops and flips, and judged by 10,000 test images. FOLDER keeps
latencies and rows, and what is there is not made again: with `--seeds 0` it measures (a minute, wants a quiet machine)
and trains later. Prints a table with paired differences to the whole network and their 95 % interval (Student's t over
seeds).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.distill.teach import TeachConfig, teach
from edgekd.models.build import build
from edgekd.models.residual import STAGES, ResNetShape
from edgekd.recipe import Recipe
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.evaluate import accuracy, logits
from tools.bench_losses import interval
from tools.bench_swaps import SHAPE, in_turns

IMAGES, SHRINK = 4000, 2
WHOLE = [ResNetShape(widths, (1,) * STAGES) for widths in ((16, 32, 64), (16, 16, 32), (8, 16, 32))]
WIDEST = WHOLE[0]
WIDER = (1.0, 1.5, 2.0, 2.5)
DEPTHS = ((1, 1, 1), (1, 2, 1), (1, 2, 2), (2, 2, 2), (2, 2, 3), (2, 3, 3), (3, 3, 3))
SHRUNK = [
    ResNetShape(tuple(round(width * multiplier) for width in WIDEST.widths), blocks, SHRINK)
    for multiplier in WIDER
    for blocks in DEPTHS
]
MOST = 1.01
"""Times the latency of the whole network up to which a shrunk one counts as no slower."""
TRAINING = TeachConfig(epochs=8, batch=64, learning_rate=0.1, losses={}, label_weight=1)


def name(shape: ResNetShape) -> str:
    """Return what a network is called."""
    widths, blocks = ("/".join(map(str, sizes)) for sizes in (shape.widths, shape.blocks))
    return f"{widths} channels, {blocks} blocks, {SHAPE[1] // shape.shrink} pixels a side"


def shares(folder: Path, runtime: str, rounds: int) -> dict[str, list[float]]:
    """Return by network its share of the widest one's latency in every round, growing; measured once."""
    kept = folder / f"shares-{runtime}.json"
    if not kept.is_file():
        kept.write_text(json.dumps(_measured(runtime, rounds)))
    found: dict[str, list[float]] = json.loads(kept.read_text())
    return found


def _measured(runtime: str, rounds: int) -> dict[str, list[float]]:
    found = in_turns({name(shape): (shape.spec, runtime) for shape in (*WHOLE, *SHRUNK)}, rounds)
    widest = found[name(WIDEST)]
    return {key: sorted(own / its for own, its in zip(ms, widest, strict=True)) for key, ms in found.items()}


def rivals(known: Mapping[str, Sequence[float]], whole: ResNetShape) -> dict[str, ResNetShape]:
    """Return by kind the shrunk networks that are as fast as a whole one and multiply most; there may be none."""

    def ms(shape: ResNetShape) -> float:
        return median(known[name(shape)])

    fitting = sorted((s for s in SHRUNK if ms(s) <= MOST * ms(whole)), key=lambda shape: shape.macs)
    if whole != WIDEST:
        return dict(zip(["shrunk"], fitting[-1:], strict=False))
    kinds = {(True, False): "wider", (False, True): "deeper", (True, True): "both"}
    found = {(s.widths != whole.widths, s.blocks != whole.blocks): s for s in fitting}
    return {kind: found[changes] for changes, kind in kinds.items() if changes in found}


def right(folder: Path, shape: ResNetShape, seed: int) -> float:
    """Return what a network gets right of the test images in percent, trained now unless it is in the folder."""
    kept = folder / f"{name(shape)}, seed {seed}.json".replace("/", "-")
    if not kept.is_file():
        plain = {
            "model": WIDEST.spec.plain(),
            "data": {"name": "fashion-mnist", "options": {"train_size": IMAGES}, "augmentation": "crop-flip"},
            "budget": {"latency_ratio": 1.0},
            "stages": {"teacher": {}},
            "seed": seed,
        }
        recipe, here = Recipe.model_validate(plain), targets.load("x86-avx2")
        context = Context(folder, folder, folder / "cache", recipe, here, origin_is_device=False)
        dataset = data.load(recipe.data)
        torch.manual_seed(seed)
        model = build(shape.spec, dataset.input_shape, dataset.classes)
        with tempfile.TemporaryDirectory() as place:
            teach(model, ArtifactSet(), context, TRAINING, folder=Path(place), title=name(shape))
        found = accuracy(logits(model.eval(), data.normalised(dataset.test, dataset)), dataset.test.labels)
        kept.write_text(json.dumps(found))
        print(f"  {name(shape)}, seed {seed}: {found:.2f} %", flush=True)
    return float(json.loads(kept.read_text()))


def table(known: Mapping[str, Sequence[float]], found: Mapping[ResNetShape, np.ndarray]) -> Iterator[str]:
    """Yield the lines of a markdown table."""
    yield "| | network | share of the latency | test, % | against the whole one |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for whole in WHOLE:
        for kind, shape in {"whole": whole, **rivals(known, whole)}.items():
            own = known[name(shape)]
            share = "1" if shape == WIDEST else f"{median(own):.3f} [{own[1]:.3f}, {own[-2]:.3f}]"
            ahead = "" if shape == whole else interval(found[shape] - found[whole])
            yield f"| {kind} | {name(shape)} | {share} | {found[shape].mean():.2f} | {ahead} |"


def main() -> None:
    """Measure and train what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--rounds", type=int, default=9, help="four or more")
    parser.add_argument("--runtime", default="openvino", choices=("openvino", "onnxruntime"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    known = shares(given.folder, given.runtime, given.rounds)
    for key, own in known.items():
        print(f"{key}: {median(own):.3f} [{own[1]:.3f}, {own[-2]:.3f}]")
    seeds = range(given.first, given.first + given.seeds)
    if seeds:
        shapes = dict.fromkeys(shape for whole in WHOLE for shape in (whole, *rivals(known, whole).values()))
        rows = np.array([[right(given.folder, shape, seed) for shape in shapes] for seed in seeds])
        print("\n".join(table(known, dict(zip(shapes, rows.T, strict=True)))))


if __name__ == "__main__":
    main()

"""Networks that look at a smaller image than they are given: it is averaged over squares of pixels first.

That the resolution is a size of a network, beside its width and its depth, is of MobileNet (Howard et al. 2017, arXiv
1704.04861) and EfficientNet (Tan and Le 2019, arXiv 1905.11946), to which images are given smaller. Ours: a network
does that itself, so that every network of a run is given the teacher's images and an engine takes the teacher's input;
and only by whole factors that divide the image, so that every pixel counts once and as much as any other. With others
a rim would be left out, or averaged over fewer pixels, about whose number runtimes have disagreed with torch (ONNX
Runtime's pull request 16752).
"""

from __future__ import annotations

from torch import nn

from edgekd.errors import UsageError

MOST = 64
"""The largest factor a network may be asked for."""


class Shrink(nn.AvgPool2d):
    """Averages squares of `factor` times `factor` pixels: (N, C, H, W) to (N, C, H / factor, W / factor)."""

    def __init__(self, factor: int) -> None:
        super().__init__(factor)
        self.factor = factor


def shrinking(factor: int, image: tuple[int, int, int], halvings: int) -> Shrink | None:
    """Return what averages images (C, H, W) for a network that then halves them so often; None for the factor 1.

    Raises UsageError for a factor that does not divide both sides, or leaves the last halving a single pixel.
    """
    if factor == 1:
        return None
    height, width = image[1:]
    least = 2 ** (halvings - 1) + 1

    def possible(one: int) -> bool:
        return all(side % one == 0 and side // one >= least for side in (height, width))

    if not possible(factor):
        others = [str(one) for one in range(2, MOST + 1) if possible(one)]
        raise UsageError(
            f"images of {height} x {width} pixels cannot be shrunk by {factor}: a factor divides both sides and leaves "
            f"{least} pixels or more of each, as the network halves them {halvings} times; "
            f"possible: {', '.join(['1', *others])}"
        )
    return Shrink(factor)


def shrunk_by(model: nn.Module) -> int:
    """Return the factor by which a network shrinks its images; 1 where it looks at them as they are."""
    return next((part.factor for part in model.children() if isinstance(part, Shrink)), 1)

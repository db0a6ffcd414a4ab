"""How vectors resemble each other, as distributions that can be compared."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def diverging_similarities(student: Tensor, teacher: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Return the mean over vectors of KL(teacher || student) of how they resemble the `others` of their group.

    `student` and `teacher` are (groups, n, D), `others` (groups, m, D); resemblance is the softmax of cosines.
    """
    ours, theirs, known = (F.normalize(vectors, dim=2) for vectors in (student, teacher, others))
    log_s = F.log_softmax(ours @ known.transpose(1, 2) / temperature, 2)
    log_t = F.log_softmax(theirs @ known.transpose(1, 2) / temperature, 2)
    return F.kl_div(log_s.flatten(0, 1), log_t.flatten(0, 1), reduction="batchmean", log_target=True)

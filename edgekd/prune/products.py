"""What products do with labels: the axis that is summed over is read, the others are made."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekd.prune.labels import Attention, Labels, along, varies


def multiply(labels: Labels, first: Tensor, second: Tensor, out: Tensor) -> None:
    """Label the product (..., r, m) of (..., r, c) and (..., c, m)."""
    left, right = labels.of(first), labels.of(second)
    read_left = [label for label in left if varies(label, -1)]
    read_right = [label for label in right if varies(label, -2)]
    for operand, found in ((first, read_left), (second, read_right)):
        if labels.is_weight(operand):
            for label in found:
                labels.read.add(labels.owner(label))
    kept = _scores(labels, _summed(labels, read_left, read_right), out.shape)
    rows = [label.select(-1, 0).unsqueeze(-1).expand(out.shape) for label in _without(left, read_left)]
    columns = [label.select(-2, 0).unsqueeze(-2).expand(out.shape) for label in _without(right, read_right)]
    for operand, found in ((first, rows), (second, columns)):
        if labels.is_weight(operand):
            for label in found:
                labels.made.add(labels.owner(label))
    labels.put(out, [*kept, *_gated(labels, rows, columns), *columns])


def _without(labels: list[Tensor], others: list[Tensor]) -> list[Tensor]:
    return [label for label in labels if not any(label is other for other in others)]


def _summed(labels: Labels, left: list[Tensor], right: list[Tensor]) -> Tensor | None:
    """Unite what is summed over; return the atoms (..., c) of the first factor where both factors have some."""
    rows = [label.select(-2, 0) for label in left]
    for label in left:
        labels.unite(label, label.narrow(-2, 0, 1))
    columns = [label.select(-1, 0) for label in right]
    for label in right:
        labels.unite(label, label.narrow(-1, 0, 1))
    found = [*rows, *columns]
    for label in found[1:]:
        labels.unite(found[0], label)
    if rows and columns:
        return rows[0]
    if found:
        labels.merge(found[0], -1, "they are multiplied by values of a fixed size")
    return None


def _scores(labels: Labels, summed: Tensor | None, shape: tuple[int, ...]) -> list[Tensor]:
    """Return a label of scores (heads, tokens, tokens) by head, where heads differ in what was summed."""
    if summed is None or summed.dim() < 2:
        return []
    batch = summed.shape[:-1]
    heads, which = torch.unique(summed.reshape(-1, summed.shape[-1]), dim=0, return_inverse=True)
    if len(heads) < 2:
        return []
    atoms = labels.fresh(len(heads))
    labels.scored.update(zip(atoms.tolist(), heads, strict=True))
    return [atoms[which].view(*batch, 1, 1).expand(shape)]


def _gated(labels: Labels, rows: list[Tensor], columns: list[Tensor], *, scale_follows: bool = False) -> list[Tensor]:
    """Return the rows that are no scores of attention; scores and the values they gate become a site of heads."""
    others = []
    for label in rows:
        scores = label[..., 0, 0].reshape(-1)
        if int(scores[0]) not in labels.scored or not columns:
            others.append(label)
            continue
        atoms, first = _first_of_each(scores)
        values = columns[0].select(-2, 0).reshape(len(scores), -1)[first]
        queries = torch.stack([labels.scored[atom] for atom in atoms.tolist()])
        labels.attentions.append(Attention(queries, values, atoms, scale_follows))
    return others


def _first_of_each(scores: Tensor) -> tuple[Tensor, list[int]]:
    places: dict[int, int] = {}
    for place, atom in enumerate(scores.tolist()):
        places.setdefault(atom, place)
    return torch.tensor(list(places)), list(places.values())


def attend(  # noqa: PLR0917 - the operator's own
    labels: Labels, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, out: Tensor, *, scale_follows: bool
) -> None:
    """Label softmax(query key^T) value, all (..., heads, tokens, width)."""
    q, k = ([x for x in labels.of(tensor) if varies(x, -1)] for tensor in (query, key))
    shape = (*query.shape[:-1], key.shape[-2])
    scores = _scores(labels, _summed(labels, q, [label.transpose(-1, -2) for label in k]), shape)
    if mask is not None:
        for label in labels.of(mask):
            for score in scores:
                labels.unite(score, label.broadcast_to(shape))
    values = [label.select(-2, 0).unsqueeze(-2).expand(out.shape) for label in labels.of(value)]
    labels.put(out, [*_gated(labels, scores, values, scale_follows=scale_follows), *values])


def convolve(  # noqa: PLR0917 - the operator's own
    labels: Labels, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, transposed: bool, groups: int
) -> None:
    """Label a convolution; one in groups loses equally many channels in each, or whole groups where it has more."""
    inputs, outputs = (labels.axis(weight, axis) for axis in ((0, 1) if transposed else (1, 0)))
    found = labels.channels(x, 1)
    if found is None:
        labels.fix(inputs, "they read values of a fixed size")
        found = inputs if transposed or groups == 1 else inputs.repeat(groups)
    made = outputs.repeat(groups) if transposed else outputs
    if groups > x.shape[1] // groups:
        made = _whole_groups(labels, found, inputs, outputs, groups, transposed=transposed)
        labels.whole.append((labels.owned[id(weight)][0], made.view(groups, -1)))
    else:
        side = inputs if transposed else outputs
        labels.unite(side.view(groups, -1), side.view(groups, -1)[:1])
        labels.unite(found.view(groups, -1), inputs.view(groups, -1) if transposed else inputs)
        labels.read.add(labels.owner(inputs))
        labels.made.add(labels.owner(outputs))
    if bias is not None:
        labels.unite(made, labels.axis(bias, 0))
    labels.put(out, [along(made, 1, out.shape)])


def _whole_groups(
    labels: Labels, found: Tensor, inputs: Tensor, outputs: Tensor, groups: int, *, transposed: bool
) -> Tensor:
    local, own = (outputs, inputs) if transposed else (inputs, outputs)
    labels.unite(local, local[:1])  # the axis within a group stays
    rows = own.view(groups, -1)
    labels.unite(rows, rows[:, :1])
    labels.unite(found.view(groups, -1), rows[:, :1])
    labels.made.add(labels.owner(own))
    return rows[:, :1].expand(groups, len(local) if transposed else rows.shape[1]).reshape(-1)

"""In which order the values of an image lie, and where OpenVINO has to change it."""

from __future__ import annotations

from math import prod

from edgekd.fuse.fusion import LANES_AVX512
from edgekd.fuse.openvino.draft import VIEW, Draft, Step

PLANAR, CHANNELS_LAST, BLOCKED = "planar", "channels-last", "blocked"
"""Channel after channel; all channels of a position together; a vector register of channels of a position together."""

_TO_LAST = {(0, 2, 3, 1), (0, 2, 1)}
_FROM_LAST = {(0, 3, 1, 2), (0, 2, 1)}
_CHANNELS_LAST = {"conv", "conv.transposed", "convert"}
_PLANAR = {
    VIEW,
    "softmax",
    "math",
    "group_norm",
    "transpose",
    "matmul",
    "fully_connected",
    "attention",
    "mlp",
    "gather",
    "rms",
}


def change(draft: Draft, lanes: int) -> None:
    """Give every step its layout and insert the steps that change it; `lanes` values fill a vector register."""
    found: dict[str, str] = {}
    for step in list(draft.steps):
        if step not in draft.steps or _is_one_copy(draft, step, found, lanes):
            continue
        wanted = step.layout = _wanted(draft, step, found, lanes)
        for name in list(step.inputs) if step.code != "convert" else ():
            if draft.rank(name) > 2 and found.get(name, PLANAR) != wanted:
                _reorder(draft, name, found.get(name, PLANAR), wanted, step)
        for name in step.outputs:
            found[name] = wanted if draft.rank(name) > 2 else PLANAR
    for name in draft.graph.outputs:
        if found.get(name, PLANAR) != PLANAR:
            _reorder(draft, name, found[name], PLANAR, None)


def _is_one_copy(draft: Draft, step: Step, found: dict[str, str], lanes: int) -> bool:
    """Give a transposition its layout, together with the changes of layout that it makes needless."""
    source = step.inputs[0] if step.inputs else ""
    given = found.get(source, PLANAR)
    chain = [step]
    while step.code in {VIEW, "transpose"} and len(chain) < 3:
        follower = draft.only_consumer(chain[-1])
        if follower is None or follower.code not in {VIEW, "transpose"}:
            break
        chain.append(follower)
    turns = [one for one in chain if one.code == "transpose"]
    if len(turns) != 1:
        return False
    last = chain[-1]
    readers = draft.consumers(last.output)
    if given != PLANAR and chain[0].code != "transpose" and last.code != "transpose":
        return False
    if given == CHANNELS_LAST and _order(turns[0]) in _TO_LAST:
        flexible = draft.rank(last.output) == 4 and any(one.code in {"reduce", "eltwise"} for one in readers)
        found[last.output] = CHANNELS_LAST if flexible else PLANAR
        code = "transpose" if flexible else "reorder.planar"
    elif given == PLANAR and _order(turns[0]) in _FROM_LAST and _read_channels_last(draft, last, found, lanes):
        found[last.output] = CHANNELS_LAST
        code = "reorder.channels_last"
    else:
        return False
    for one in chain[1:]:
        draft.absorb(step, one)
    step.code, step.layout = code, found[last.output]
    return True


def _order(turn: Step) -> tuple[int, ...]:
    return tuple(turn.node.attributes.get("perm", ()))


def _read_channels_last(draft: Draft, last: Step, found: dict[str, str], lanes: int) -> bool:
    """Return whether all readers want the image with all channels of a position together."""
    readers = draft.consumers(last.output)
    seen = {**found, last.output: PLANAR}
    wanted = [_wanted(draft, one, seen, lanes) for one in readers]
    return draft.rank(last.output) == 4 and bool(readers) and set(wanted) == {CHANNELS_LAST}


def _wanted(draft: Draft, step: Step, found: dict[str, str], lanes: int) -> str:
    images = [found.get(name, PLANAR) for name in step.reads or step.inputs if draft.rank(name) > 2]
    if step.code in _CHANNELS_LAST or (step.code.startswith("pool") and draft.types[step.inputs[0]] == "u8"):
        return CHANNELS_LAST
    if step.code == "lrn":
        return BLOCKED if lanes == LANES_AVX512 else PLANAR
    planar_pool = step.code.startswith("pool.") and images == [PLANAR]
    if images == [BLOCKED] or (planar_pool and lanes != LANES_AVX512):
        return BLOCKED
    if step.code in _PLANAR or step.code.startswith("other.") or _reads_vector(draft, step):
        return PLANAR
    last = images.count(CHANNELS_LAST)
    return CHANNELS_LAST if last and last * 2 >= len(images) else PLANAR


def _reads_vector(draft: Draft, step: Step) -> bool:
    """Return whether an elementwise step reads constants of fewer dimensions than the image: then it must be planar."""
    if step.code != "eltwise" or "BatchNormalization" in step.fused:
        return False
    return any(1 < len(shape) < draft.rank(step.output) and prod(shape) > 1 for shape in step.constants)


def _reorder(draft: Draft, tensor: str, old: str, new: str, reader: Step | None) -> None:
    changed = f"{tensor}/{new}"
    step = draft.producer(changed)
    if step is None:
        made = draft.producer(tensor)
        node = made.node if made is not None else draft.graph.consumers(tensor)[0]
        step = Step(_code(old, new), [tensor], [changed], node, layout=new)
        draft.shapes[changed], draft.types[changed] = draft.shapes[tensor], draft.types[tensor]
        draft.insert(step, reader)
    if reader is not None:
        reader.inputs = [changed if name == tensor else name for name in reader.inputs]
        draft.reindex()


def _code(old: str, new: str) -> str:
    if BLOCKED in {old, new}:
        return "reorder.blocked"
    return "reorder.channels_last" if new == CHANNELS_LAST else "reorder.planar"

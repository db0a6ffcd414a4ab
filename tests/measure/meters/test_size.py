from __future__ import annotations

import json

from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create


def test_bytes_are_counted_by_type_of_file(engines: list[Engine], setup_: Setup) -> None:
    reading = create("size").measure(engines, setup_)
    (line,) = [
        json.loads(line)
        for line in (setup_.raw / "size.jsonl").read_text().splitlines()
        if json.loads(line)["engine"] == "light/fp32/openvino"
    ]
    folder = engines[2].path
    assert line["bytes_by_type"] == {
        ".bin": (folder / "model.bin").stat().st_size,
        ".xml": (folder / "model.xml").stat().st_size,
    }
    (figure,) = reading.figures["light/fp32/openvino"]
    assert figure.value == sum(line["bytes_by_type"].values()) / 1e6 == line["size_bytes"] / 1e6
    assert figure.origin == "counted"

"""Training logs: what each says, and what is left of one that was cut or damaged."""

import io
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.capture.logs import gathered, parse_log, read_log
from mstore.capture.logs.protobuf import fields, signed
from mstore.capture.logs.tensorboard import masked_crc
from mstore.errors import CorruptError, InvalidInputError, MstoreError, NotFoundError
from mstore.format.objects import MAX_RECORD, decode_object, encode_object
from mstore.objects import Log, Series

FIXTURES = Path(__file__).parent / "fixtures"


def points(series: Series) -> list[tuple[int, float]]:
    """The steps and values of a series."""
    count = len(series.steps) // 8
    steps = struct.unpack(f"<{count}q", series.steps)
    return list(zip(steps, struct.unpack(f"<{count}d", series.values), strict=True))


def table(log: Log) -> dict[str, list[tuple[int, float]]]:
    """All series of a log by name."""
    return {series.name: points(series) for series in log.series}


def read(content: bytes | str) -> tuple[str, dict[str, list[tuple[int, float]]], str]:
    """What is read of a file with this content: its source, its series, the remark."""
    raw = content.encode() if isinstance(content, str) else content
    log, remark = read_log(io.BytesIO(raw), "log")
    assert decode_object(*encode_object(log)) == log
    return log.source, table(log), remark


def near(values: list[tuple[int, float]]) -> Any:
    """Values as 32-bit floats have them."""
    return [(step, struct.unpack("<f", struct.pack("<f", value))[0]) for step, value in values]


def test_scalars_of_torch() -> None:
    """Every scalar that torch wrote is read, learning rate, NaN and infinity too, with its time."""
    log, remark = parse_log(FIXTURES / "torch.tfevents")
    found = table(log)
    assert (log.source, remark) == ("tensorboard", "")
    assert list(found) == ["train/loss", "lr", "val/accuracy", "odd", "new style"]
    assert found["train/loss"] == near([(step, 1 / (1 + step)) for step in range(20)])
    assert found["lr"] == near([(step, 0.1 * 0.9**step) for step in range(20)])
    assert found["val/accuracy"] == near([(step, 1 - 0.5**step) for step in range(0, 20, 5)])
    assert math.isnan(found["odd"][0][1])
    assert found["odd"][1] == (1, math.inf)
    assert found["new style"] == [(7, 2.5)]
    times = struct.unpack("<20q", log.series[0].times)
    assert times == tuple((1_700_000_000 + step) * 1_000_000 for step in range(20))


def test_scalars_as_tensors() -> None:
    """Scalars of every type that TensorFlow 2 writes as a tensor are read, vectors are not."""
    log, _ = parse_log(FIXTURES / "tensors.tfevents")
    assert table(log) == {"epoch_loss": [(step, step + 1) for step in range(5)]}


@pytest.mark.parametrize("cut", [1, 3, 11, 17, 50])
def test_a_cut_event_file(cut: int) -> None:
    """An event file that ends in the middle of a record gives all before it, and says where."""
    content = (FIXTURES / "torch.tfevents").read_bytes()
    whole = read(content)[1]
    _, found, remark = read(content[: 600 + cut])
    assert found["train/loss"] == whole["train/loss"][: len(found["train/loss"])]
    assert "log 'log': it is cut off in the record at byte " in remark


def test_a_damaged_record_is_left_out() -> None:
    """A record with a flipped bit is left out; nothing is read behind a flipped length."""
    content = bytearray((FIXTURES / "torch.tfevents").read_bytes())
    place = content.index(b"val/accuracy")
    content[place] ^= 1
    _, found, remark = read(bytes(content))
    assert [step for step, _ in found["val/accuracy"]] == [5, 10, 15]
    assert remark.endswith("is damaged and left out")
    first = 16 + int.from_bytes(content[:8], "little")
    second = first + 16 + int.from_bytes(content[first : first + 8], "little")
    content[second] ^= 1
    assert f"it is damaged at byte {second}, what follows is left out" in read(bytes(content))[2]


def frame(event: bytes) -> bytes:
    """A record with its sums."""
    size = len(event).to_bytes(8, "little")
    sums = [masked_crc(part).to_bytes(4, "little") for part in (size, event)]
    return size + sums[0] + event + sums[1]


def test_the_sum_is_that_of_the_standard() -> None:
    """The CRC-32C of RFC 3720's example, unmasked, is the one of the standard."""
    word = (masked_crc(bytes(32)) - 0xA282EAD8) & 0xFFFFFFFF
    assert ((word >> 17 | word << 15) & 0xFFFFFFFF) == 0x8A9136AA


def test_large_records_are_stepped_over() -> None:
    """A record that is too large to be a scalar's is neither summed nor read."""
    value = b"\x0a\x01a\x15" + struct.pack("<f", 2.0)
    event = b"\x10\x03\x2a" + bytes([len(value) + 2]) + b"\x0a" + bytes([len(value)]) + value
    large = frame(b"")[:0] + (2 << 20).to_bytes(8, "little")
    large += masked_crc(large).to_bytes(4, "little") + bytes((2 << 20) + 4)
    assert read(frame(event) + large + frame(event)) == (
        "tensorboard",
        {"a": [(3, 2.0), (3, 2.0)]},
        "",
    )


@given(st.binary(max_size=200))
def test_any_message_is_fields_or_corrupt(content: bytes) -> None:
    """Any bytes are fields of a message, or refused."""
    try:
        found = list(fields(memoryview(content)))
    except CorruptError:
        return
    assert sum(len(field.content) for field in found) <= len(content)
    assert all(-(1 << 63) <= signed(field.value) < 1 << 63 for field in found)


TRAINER_STATE = {
    "best_model_checkpoint": None,
    "global_step": 30,
    "log_history": [
        {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 5e-05, "loss": 2.5, "step": 10},
        {"epoch": 1.0, "eval_loss": float("nan"), "eval_accuracy": 0.75, "step": 20},
        {"epoch": 1.5, "learning_rate": 1e-05, "loss": 1.25, "step": 30},
    ],
    "max_steps": 30,
}


def test_trainer_state() -> None:
    """The rows of trainer_state.json are series over its steps, the learning rate among them."""
    source, found, remark = read(json.dumps(TRAINER_STATE, indent=2))
    assert (source, remark) == ("trainer_state", "")
    assert found["loss"] == [(10, 2.5), (30, 1.25)]
    assert found["learning_rate"] == [(10, 5e-05), (30, 1e-05)]
    assert found["epoch"] == [(10, 0.5), (20, 1.0), (30, 1.5)]
    assert math.isnan(found["eval_loss"][0][1])
    assert "step" not in found


def test_a_cut_trainer_state() -> None:
    """A trainer_state.json that breaks off gives its whole rows and says where it breaks off."""
    text = json.dumps(TRAINER_STATE, indent=2)
    cut = text.index("1.25")
    _, found, remark = read(text[:cut])
    assert found["loss"] == [(10, 2.5)]
    assert "it is cut off or damaged at character" in remark


LIGHTNING = "epoch,step,train_loss,val_acc,lr\n0,9,2.5,,0.1\n0,9,,0.5,\n1,19,nan,,0.05\n"


def test_lightning_csv() -> None:
    """Cells of Lightning's metrics.csv are values at their steps; empty ones are none."""
    source, found, remark = read(LIGHTNING)
    assert (source, remark) == ("csv", "")
    assert found["lr"] == [(9, 0.1), (19, 0.05)]
    assert found["val_acc"] == [(9, 0.5)]
    assert found["train_loss"][0] == (9, 2.5)
    assert math.isnan(found["train_loss"][1][1])
    assert found["epoch"] == [(9, 0), (9, 0), (19, 1)]


def test_keras_csv_goes_by_epochs() -> None:
    """Without a step the epoch is the step, and without both the number of the row."""
    assert read("epoch,loss\n0,2.5\n1,1.5\n")[1] == {"loss": [(0, 2.5), (1, 1.5)]}
    assert read("a,loss\nx,2.5\ny,1.5\n")[1] == {"loss": [(0, 2.5), (1, 1.5)]}


def test_a_cut_csv() -> None:
    """The last row without a line break is left out: its number may lack digits."""
    _, found, remark = read(LIGHTNING[:-2])
    assert found["lr"] == [(9, 0.1)]
    assert remark == "log 'log': it is cut off in line 4"
    assert (
        "line 3 has 3 cells, not 5, and is left out" in read(LIGHTNING.replace(",,0.5,", ",7"))[2]
    )


def test_json_lines() -> None:
    """Numbers of JSON lines are series, nested ones by their path; a cut last line is left out."""
    lines = [
        '{"step": 1, "loss": 2.5, "train": {"lr": 0.1}, "note": "x", "ok": true}',
        '{"step": 2, "loss": Infinity, "_timestamp": 1700000000.5}',
        "no json",
        '{"metric": "val/acc", "value": 0.5, "step": 3}',
        '{"step": 4, "lo',
    ]
    source, found, remark = read("\n".join(lines))
    assert source == "jsonl"
    assert found == {
        "loss": [(1, 2.5), (2, math.inf)],
        "train/lr": [(1, 0.1)],
        "val/acc": [(3, 0.5)],
    }
    assert remark == "log 'log': line 3 is no JSON and left out"
    assert read("\n".join([*lines[:2], lines[4]]))[2] == "log 'log': it is cut off in line 3"


CAFFE = {
    "test/accuracy": [(0, 0.1021), (200, 0.9707)],
    "test/loss": [(0, 2.3612), (200, 0.0912)],
    "loss": [(0, 2.40123), (100, 0.2213)],
    "train/loss": [(0, 2.40123), (100, 0.2213)],
    "lr": [(0, 0.01), (100, 0.00992565), (200, 0.00985258)],
    "test1/accuracy": [(200, 0.5)],
}


def test_caffe() -> None:
    """Loss, accuracy and learning rate of each iteration are read from a caffe log."""
    source, found, remark = read((FIXTURES / "caffe.log").read_bytes())
    step, last = found["loss"].pop()
    assert step == 200
    assert math.isnan(last)
    assert (source, found, remark) == ("caffe", CAFFE, "")


def test_a_cut_caffe_log() -> None:
    """A line without its end is left out, as its number may lack digits."""
    content = (FIXTURES / "caffe.log").read_bytes()
    cut = content.index(b"0.00992565") + 5
    _, found, remark = read(content[:cut])
    assert found["lr"] == [(0, 0.01)]
    assert remark == "log 'log': it is cut off in line 16"


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    """What is no log, has no number in it, is no file or is not there is refused by its name."""
    for content in (b"", b"hello\n", b"\0" * 100, b"a,b\nx,y\n", b"\xff\xfe"):
        with pytest.raises(InvalidInputError, match="'log' is not a training log"):
            read(content)
    with pytest.raises(InvalidInputError, match="has no number in it: it is cut off in line 1"):
        read('{"loss": 1')
    with pytest.raises(NotFoundError, match="no log"):
        parse_log(tmp_path / "missing")
    with pytest.raises(InvalidInputError, match="is not a file"):
        parse_log(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="is not a file"):
        parse_log(tmp_path / "pipe")


def test_what_is_too_much_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many series are refused, of too many numbers one in several is kept, lines are cut."""
    row = {f"x{number}": 1 for number in range(1001)}
    with pytest.raises(InvalidInputError, match="more than 1000 series"):
        read(json.dumps(row) + "\n")
    rows = "".join(f'{{"step": {step}, "loss": {step}}}\n' for step in range(100))
    monkeypatch.setattr(gathered, "MAX_POINTS", 30)
    _, found, remark = read(rows)
    assert found["loss"] == [(step, step) for step in range(0, 100, 4)]
    assert remark == "log 'log': of its 100 numbers one in 4 is kept"
    monkeypatch.setattr(gathered, "MAX_READ", 50)
    with pytest.raises(InvalidInputError, match="more than 50 numbers"):
        read(rows)
    monkeypatch.setattr(gathered, "MAX_LINE", 64)
    assert read('{"loss": 1}\n{"x": "' + "x" * 999 + '"}\n{"loss": 2}\n')[1] == {
        "loss": [(0, 1), (1, 2)]
    }
    assert read('{"' + "n" * 40 + '": 1}\n')[1] == {"n" * 40: [(0, 1)]}


def test_the_largest_log_fits_a_record() -> None:
    """As many numbers and names as are kept fit into one record of a store."""
    each = gathered.MAX_POINTS // gathered.MAX_SERIES
    numbers = bytes(8 * each)
    names = [
        f"{number:04}" + "ü" * (gathered.MAX_NAME - 4) for number in range(gathered.MAX_SERIES)
    ]
    log = Log("csv", tuple(Series(name, numbers, numbers, numbers) for name in names))
    assert len(encode_object(log)[1]) < MAX_RECORD


@given(st.binary(max_size=400))
def test_any_bytes_are_a_log_or_refused(content: bytes) -> None:
    """Any bytes, behind the head of each kind of log, are read or refused by an error of ours."""
    for head in (b"", b'{"log_history": [', b'{"step": 1}\n', b"step,loss\n1,2\n", frame(b"")):
        try:
            read_log(io.BytesIO(head + content), "log")
        except MstoreError:
            continue

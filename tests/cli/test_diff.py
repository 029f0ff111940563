"""``mstore diff``: what people and programs are told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file


def write(path: str, **tensors: np.ndarray) -> str:
    """Write a safetensors file; a double underscore in a name is a dot."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name.replace("__", "."): array for name, array in tensors.items()}, path)
    return path


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_versions_of_a_model(stocked: Any) -> None:
    """The body is identical, the head is not, and what was said of both is compared."""
    lines = stocked.lines("diff", "lenet@1", "lenet@3")
    assert lines[0].startswith("a: lenet@1")
    assert "= 2 tensors of the same shape, 1 identical" in lines
    assert "~ parameters: epoch = 0 -> 2" in lines
    assert any(line.split() == ["body", "1", "0", "(identical)"] for line in lines)
    assert any(line.split()[:4] == ["head", "1", "100", "%"] for line in lines)
    assert lines[-1].startswith("read 2.5 KiB of tensors, ")


def test_what_was_added_removed_resized_and_retyped(mstore: Any) -> None:
    """Each change of structure has a sign, and shapes and dtypes are told."""
    write("a.safetensors", fc1=numbers(8, 4), old=numbers(3), kept=numbers(2, 2))
    write(
        "b.safetensors",
        fc1=numbers(4, 4),
        new=numbers(5, seed=1),
        kept=numbers(2, 2).astype(np.float16),
    )
    lines = mstore.lines("diff", "a.safetensors", "b.safetensors")
    assert "~ fc1 F32 8x4 -> F32 4x4" in lines
    assert "- old F32 3" in lines
    assert "+ new F32 5" in lines
    assert "~ kept F32 2x2 -> F16 2x2" in lines


def test_a_prefix_is_one_line(mstore: Any) -> None:
    """A model whose names were all changed alike was renamed, nothing more, and nothing is read."""
    tensors = {f"l{at}__weight": numbers(4, 4, seed=at) for at in range(5)}
    write("a.safetensors", **tensors)
    write("b.safetensors", **{f"model__{name}": array for name, array in tensors.items()})
    lines = mstore.lines("diff", "a.safetensors", "b.safetensors")
    assert "renamed: 5 (no prefix -> model)" in lines
    assert not any(line[:2] in ("+ ", "- ") for line in lines)
    assert lines[-1] == "read 0 B of tensors, 0.0 % of all there are"


def test_a_frozen_backbone_is_one_row(mstore: Any) -> None:
    """Layers below a prefix that did not change stand together as identical."""
    backbone = {f"backbone__{at}__weight": numbers(4, 4, seed=at) for at in range(3)}
    write("a.safetensors", **backbone, head=numbers(2, 4))
    write("b.safetensors", **backbone, head=numbers(2, 4, seed=9))
    lines = mstore.lines("diff", "a.safetensors", "b.safetensors")
    assert any(line.split() == ["backbone.*", "3", "0", "(identical)"] for line in lines)


def test_three_side_by_side(stocked: Any) -> None:
    """Of three models a table has a column for each of the others."""
    lines = stocked.lines("diff", "lenet@1", "lenet@2", "lenet@1")
    assert "a to b" in lines
    assert "a to c" in lines
    (body,) = [line for line in lines if line.startswith("body  ")]
    assert body.split() == ["body", "identical", "identical"]


def test_every_tensor(stocked: Any) -> None:
    """With --tensors each has its rank and a histogram."""
    lines = stocked.lines("diff", "lenet@1", "lenet@2", "--tensors")
    (head,) = [line for line in lines if line.startswith("head ")]
    assert "changed" in head
    assert " of 10 " in head
    assert "█" in head


def test_align(mstore: Any) -> None:
    """Permuted neurons are recognised: after aligning nothing has changed."""
    first, bias, second = numbers(16, 8), numbers(16, seed=1), numbers(3, 16, seed=2)
    order = np.random.default_rng(5).permutation(16)
    write("a.safetensors", l1__weight=first, l1__bias=bias, l2__weight=second)
    write(
        "b.safetensors",
        l1__weight=first[order],
        l1__bias=bias[order],
        l2__weight=np.ascontiguousarray(second[:, order]),
    )
    plain = mstore.json("diff", "a.safetensors", "b.safetensors")
    aligned = mstore.json("diff", "a.safetensors", "b.safetensors", "--align")
    assert plain["others"][0]["total"]["relative_l2"] > 0.5
    assert aligned["others"][0]["total"]["relative_l2"] < 1e-6
    assert aligned["others"][0]["alignments"][0]["width"] == 16
    lines = mstore.lines("diff", "a.safetensors", "b.safetensors", "--align")
    assert any(line.endswith("neurons: l1.weight, l1.bias, l2.weight") for line in lines)


def test_high(stocked: Any) -> None:
    """With --high what is read and where the figures of all bits are is said."""
    exact = stocked.json("diff", "lenet@1", "lenet@2")["others"][0]["total"]
    found = stocked.json("diff", "lenet@1", "lenet@2", "--high")
    bounds = found["others"][0]["total"]["bounds"]
    assert found["bits"] == 16
    assert bounds["relative_l2"]["low"] <= exact["relative_l2"] <= bounds["relative_l2"]["high"]
    lines = stocked.lines("diff", "lenet@1", "lenet@2", "--bits", "12")
    assert any(line.startswith("all bits would give: ") for line in lines)
    assert "for 12 leading bits" in lines[-1]


def test_files_need_no_store(mstore: Any) -> None:
    """Two files are compared where there is no store, and none is made."""
    write("a.safetensors", w=numbers(4, 4))
    write("b.safetensors", w=numbers(4, 4, seed=1))
    result = mstore.json("diff", "a.safetensors", "./b.safetensors")
    assert result["others"][0]["counts"]["changed"] == 1
    assert not Path("../home/data/mstore").exists()


def test_a_version_against_a_file(stocked: Any) -> None:
    """The file that a version was put from differs in nothing."""
    found = stocked.json("diff", "lenet", "./lenet.safetensors")
    assert found["others"][0]["counts"]["identical"] == 2
    assert found["others"][0]["side"]["place"].endswith("/lenet.safetensors")
    assert found["bytes_read"] == 0


def test_what_is_neither(stocked: Any) -> None:
    """What is neither a revision nor a path is not found; one side alone is no comparison."""
    stocked("diff", "lenet", "nothing", code=3)
    stocked("diff", "lenet", "./nothing.safetensors", code=3)
    stocked("diff", "lenet", code=2)
    stocked("diff", "lenet@1", "lenet@2", "--align", "--high", code=2)
    stocked("diff", "lenet@1", "lenet@2", "--bits", "99", code=2)


def test_hostile_names_are_inert(mstore: Any) -> None:
    """Escapes in settings reach no terminal."""
    for name, text in (("a", "plain"), ("b", "\\u001b[31mred\\u202e\\ud800")):
        write(f"{name}/model.safetensors", w=numbers(2, 2))
        Path(f"{name}/config.json").write_text(f'{{"title": "{text}"}}', encoding="utf-8")
    output = mstore("diff", "./a", "./b").stdout
    assert "title = plain -> " in output
    assert "\x1b" not in output
    assert "\u202e" not in output


@pytest.mark.parametrize("words", [("./a", "./b"), ("./a", "./b", "--tensors")])
def test_nothing_to_compare(mstore: Any, words: tuple[str, ...]) -> None:
    """Folders without tensors differ in files alone."""
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "notes.txt").write_text(name, encoding="utf-8")
    assert "~ file notes.txt (1 B)" in mstore.lines("diff", *words)


def test_nothing_differs(stocked: Any) -> None:
    """A version against itself says so, and reads nothing."""
    lines = stocked.lines("diff", "lenet", "lenet")
    assert "nothing differs" in lines
    assert lines[-1].startswith("read 0 B")

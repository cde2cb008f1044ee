"""Files made to harm: each is refused in one printable line with status 2, in little time and memory."""

import contextlib
import io
import os
import pickle
import resource
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_cossim.analysis.cli import main
from lightning_cossim.analysis.saved_tensors import open_tensors
from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.errors import CheckpointError, ConfigError

ADVICE = ("allow_pickle", "weights_only", "max_header_size", "set_int_max", "trust")
LIMIT = 200_000_000
"""Bytes of address space beyond those in use: a little more than memory."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail on more memory than `LIMIT`. (Time is measured by the benchmarks.)"""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refused(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    """The line of a command that must end with status 2, in bounded memory."""
    capsys.readouterr()
    with bounded():
        status = main([*map(str, command)])
    said = capsys.readouterr()
    assert status == 2, said
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    line = said.err.removesuffix("\n")
    assert line.isprintable()
    assert len(line) <= 400
    assert "memory for" not in line
    assert "should not happen" not in line, line
    assert not any(word in line for word in ADVICE), line
    return line


# Checkpoints


TENSORS: dict[str, Callable[[], Any]] = {
    "expanded": lambda: torch.ones(1, 1).expand(10**6, 10**4),
    "one row repeated": lambda: torch.ones(1, 6).expand(10**8, 6),
    "overlapping": lambda: torch.ones(1000).as_strided((10**5, 900), (0, 1)),
    "sparse": lambda: torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), (10**9, 6)),
    "sparse rows": lambda: torch.eye(6).to_sparse_csr(),
    "meta": lambda: torch.empty(10**9, 6, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.strided),
    "no rows": lambda: torch.ones(0, 6),
    "no columns": lambda: torch.ones(10**6, 0),
    "four bits": lambda: torch.ones(12, 3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "whole numbers": lambda: torch.ones(12, 6, dtype=torch.int64),
    "complex": lambda: torch.ones(12, 6, dtype=torch.complex64),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(12, 6), 0.1, 0, torch.qint8),
}
"""Tensors that claim more values than their file holds, or are of a kind that cannot be read."""


@pytest.mark.filterwarnings("ignore")  # torch calls some of these kinds a prototype
@pytest.mark.parametrize("kind", [*TENSORS])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_tensor_that_is_not_stored_value_by_value_is_refused_by_name(
    kind: str, new: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pt"
    torch.save({"fc.weight": TENSORS[kind]()}, path, _use_new_zipfile_serialization=new)
    assert path.stat().st_size < 10_000_000
    said = refused(capsys, "analyze", path, "--head", "fc.weight")
    assert "fc.weight" in said or kind == "quantized" or not new  # some kinds torch itself cannot read


def test_a_transposed_or_shared_tensor_is_read(tmp_path: Path) -> None:
    whole = torch.randn(4, 12, 6)
    torch.save({"fc.weight": whole[1], "other.weight": torch.randn(6, 12).T}, tmp_path / "x.pt")
    saved = open_tensors(tmp_path / "x.pt")
    assert torch.equal(saved.read("fc.weight"), whole[1])
    assert saved.read("other.weight").shape == (12, 6)


def pickles() -> dict[str, Callable[[Path], None]]:
    weight = torch.ones(12, 6)

    def compressed(path: Path) -> None:
        torch.save({"fc.weight": torch.zeros(1000, 1000)}, stored := io.BytesIO())
        with zipfile.ZipFile(stored) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for entry in old.infolist():
                new.writestr(entry.filename, old.read(entry))

    return {
        "a key that is no text": lambda path: torch.save({(1, 2): weight, "x": {(3, 4): weight}}, path),
        "a large key": lambda path: torch.save({10**4000: weight}, path),
        "a long name": lambda path: torch.save({"." * 2_000_000: weight, "a" * 10**6: weight}, path),
        "many names": lambda path: torch.save({f"layer{i}.w": weight for i in range(20_000)}, path),
        "only objects": lambda path: torch.save({"fc.weight": list(range(10**6))}, path),
        "only objects, legacy": lambda path: torch.save(
            {"fc.weight": list(range(10**6))}, path, _use_new_zipfile_serialization=False
        ),
        "compressed": compressed,
        "no checkpoint": lambda path: path.write_bytes(pickle.dumps([1])),
        "zeros": lambda path: path.write_bytes(bytes(10**7)),
        "marks": lambda path: path.write_bytes(b"\x80\x02" + b"(" * 10**7),
        "a zip of nothing": lambda path: zipfile.ZipFile(path, "w").close(),
        "an escape": lambda path: torch.save({"\x1b[2J\n\u202e": weight, "b": weight}, path),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*pickles()])
def test_a_file_of_torch_that_is_made_to_harm(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.pt"
    pickles()[kind](path)
    refused(capsys, "analyze", path)


# Arrays


def npy(header: str, content: bytes = b"\0" * 64, version: int = 1) -> bytes:
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + content


ARRAYS = {
    "no size": npy("{'descr':'|V0','fortran_order':False,'shape':(10000000000,6)}"),
    "too many values": npy("{'descr':'<f8','fortran_order':False,'shape':(10000000000,6)}"),
    "no values": npy("{'descr':'<f8','fortran_order':False,'shape':(10000000000,0)}"),
    "negative": npy("{'descr':'<f8','fortran_order':False,'shape':(-1,6)}"),
    "long integer": npy("{'descr':'<f8','fortran_order':False,'shape':(" + "9" * 5_000 + ",6)}"),
    "long header": npy("{'descr':'<f8','fortran_order':False,'shape':(2,4)" + " " * 50_000 + "}", version=2),
    "objects": npy("{'descr':'|O','fortran_order':False,'shape':(2,4)}"),
    "long doubles": npy("{'descr':'<f16','fortran_order':False,'shape':(2,2)}"),
    "dates": npy("{'descr':'<M8[s]','fortran_order':False,'shape':(2,4)}"),
    "fields": npy("{'descr':[('\x1b[2J','<f8')],'fortran_order':False,'shape':(2,4)}"),
    "deep header": npy("(" * 9_000 + ")" * 9_000, version=2),
    "no header": b"\x93NUMPY",
}


@pytest.mark.parametrize("kind", [*ARRAYS])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_that_is_made_to_harm(kind: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(ARRAYS[kind])
    if suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("fc.npy", ARRAYS[kind])
    refused(capsys, "analyze", path)


def test_a_compressed_array_that_unpacks_to_far_more_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez_compressed(tmp_path / "x.npz", weight=np.zeros((10**6, 100), dtype=np.float32))
    assert "400,000,000 bytes compressed to" in refused(capsys, "analyze", tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "y.npz", weight=np.random.default_rng(0).normal(size=(12, 6)))
    assert main(["analyze", str(tmp_path / "y.npz")]) == 0


# Texts

TEXTS = {
    "bytes": b"\xff\xfe\x00",
    "lines": b"\n" * 9_000_000,
    "short lines": b"ab\n" * 3_000_000,
    "one line": b"a" * 9_000_000,
    "null bytes": bytes(1_000_000),
}


@pytest.mark.parametrize("kind", [*TEXTS])
@pytest.mark.parametrize("option", ["--names", "--inputs", "--thresholds", "--fail-on"])
def test_a_text_that_is_made_to_harm(option: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"fc.weight": torch.randn(12, 6)}, tmp_path / "x.pt")
    np.save(tmp_path / "f.npy", np.ones((3, 6), dtype=np.float32))
    (tmp_path / "text").write_bytes(TEXTS[kind])
    refused(capsys, "analyze", tmp_path / "x.pt", "--embeddings", tmp_path / "f.npy", option, tmp_path / "text")


JSONS = {
    "deep": "[" * 1_000_000,
    "long integer": '{"architectures": ["XForCausalLM"], "vocab_size": ' + "9" * 5_000 + "}",
    "many lists": '{"architectures": [' + "[]," * 3_000_000 + "[]]}",
    "a list": "[1]",
    "nothing": "",
    "a name": '{"weight_map": {"fc.weight": "\\u001b[2J.pt"}}',
    "a folder": '{"weight_map": {"fc.weight": "../../x/.."}}',
}


@pytest.mark.parametrize("kind", [*JSONS])
@pytest.mark.parametrize("name", ["config.json", "x.safetensors.index.json"])
def test_json_that_is_made_to_harm(kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(JSONS[kind], encoding="utf-8")
    refused(capsys, "analyze", tmp_path if name == "config.json" else tmp_path / name)


# What is no regular file


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # a short path


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "link to nothing", "link to itself"])
def test_what_is_no_regular_file_is_never_opened(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To open a pipe waits for ever."""
    torch.save({"fc.weight": torch.randn(12, 6)}, tmp_path / "x.pt")
    np.save(tmp_path / "f.npy", np.ones((3, 6), dtype=np.float32))
    made: dict[str, Callable[[Path], Any]] = {
        "pipe": os.mkfifo,
        "socket": bound_socket,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "folder": Path.mkdir,
        "link to nothing": lambda path: path.symlink_to("nowhere"),
        "link to itself": lambda path: path.symlink_to(path.name),
    }
    for suffix in (".pt", ".npy", ".npz", ".ckpt", ".txt", ".yaml", ".index.json"):
        made[kind](tmp_path / f"odd{suffix}")
    with_inputs = ["analyze", tmp_path / "x.pt", "--embeddings", tmp_path / "f.npy"]
    for command in (
        *(["analyze", tmp_path / f"odd{suffix}"] for suffix in (".pt", ".npy", ".npz", ".ckpt", ".index.json")),
        *([*with_inputs, option, tmp_path / "odd.npy"] for option in ("--targets", "--logits", "--embeddings")),
        *([*with_inputs, option, tmp_path / "odd.txt"] for option in ("--names", "--inputs", "--thresholds", "--fail-on")),
        ["config", "--check", tmp_path / "odd.yaml"],
    ):
        refused(capsys, *command)


# YAML

YAMLS = {
    "alias": "stranger: &a 0.1\nlookalike: *a\n",
    "aliases": "known: &a [[a, b]]\nalerts: [*a, *a]\n",
    "tag": "stranger: !!float 1\n",
    "set": "known: !!set {a, b}\n",
    "own tag": "known: !x [a]\n",
    "merge key": "alerts: [{<<: {a: 1}, scalar: x}]\n",
    "merge key at the top": "<<: {stranger: 0.1}\n",
    "key that is a number": "1: 0.1\n",
    "key that is nothing": "~: 0.1\n",
    "key that is a list": "? [a]\n: 0.1\n",
    "key in a value": "known: {1: 2}\n",
    "key with a space": '"stranger ": 0.1\n',
    "key with a line break": '"stranger\\n": 0.1\n',
    "hex number": "min_inputs: 0x" + "F" * 9_000 + "\n",
    "number": "min_inputs: " + "9" * 4_000 + "\n",
    "number of sixties": "min_inputs: 1" + ":59" * 9_000 + "\n",
    "number with lines": "min_inputs: 1" + "_0" * 9_000 + "\n",
    "negative": "min_inputs: -0b" + "1" * 90_000 + "\n",
    "date": "stranger: 2001-13-45\n",
    "escape beyond Unicode": 'stranger: "\\U00110000"\n',
    "deep lists": "known: " + "[" * 400_000 + "\n",
    "deep mappings": "known: " + "{a: " * 200_000 + "\n",
    "deep blocks": "known:\n" + "".join(f"{' ' * i}-\n" for i in range(1, 900)),
    "wide": "known: [" + "[a, b]," * 100_000 + "]\n",
    "two documents": "stranger: 0.1\n---\nstranger: 0.1\n",
    "too large": "#" * 1_000_001,
    "comments": "#\n" * 499_000 + "x: 1\n",
    "long key": "x" * 900 + ": 1\n",
    "escapes": '"\\e[2J\\e]0;owned\\a": 1\n',
    "escape in a value": 'stranger: "\\e[2J"\n',
    "control character": "stranger: \x1b[2J\n",
}


@pytest.mark.parametrize("kind", [*YAMLS])
def test_yaml_that_is_made_to_harm(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(YAMLS[kind], encoding="utf-8")
    refused(capsys, "config", "--check", path)
    with pytest.raises(ConfigError):
        Thresholds.from_yaml(path)


# The command


@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b[2J"],
        ["analyze", "x.pt", "--\x1b]0;owned\x07"],
        ["analyze", "x.pt", "--ignore", "9" * 5_000],
        ["analyze", "x.pt", "--max-tracked", "\x1b[2J\n"],
        ["analyze", "x.pt", "--link", "x" * 9_000],
        ["analyze", "\ud800.pt"],
        ["analyze", "a\0b.pt"],
        ["analyze", "x" * 9_000],
        ["config", "--check", "\x1b[2J\n.yaml"],
        ["compare", "\n", "\n"],
        ["demo", "--epochs", "0"],
    ],
)
def test_arguments_made_to_harm(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = int(str(ended.code))
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err.removesuffix("\n").isprintable()
    assert len(said.err) <= 401


def test_an_output_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is a file on a full disk."""
    torch.save({"fc.weight": torch.randn(12, 6)}, tmp_path / "x.pt")
    with Path("/dev/full").open("w", encoding="utf-8") as full, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", full)
        assert main(["analyze", str(tmp_path / "x.pt")]) == 2
    assert capsys.readouterr().err == "expected to write the output, got No space left on device.\n"


def test_an_error_of_ours_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a\nb\x1b")

    monkeypatch.setattr("lightning_cossim.analysis.cli.commented_default", fail)
    assert main(["config"]) == 2
    assert capsys.readouterr().err == "an error that should not happen, please report it: KeyError: 'a\\nb\\x1b'\n"


def test_errors_do_not_grow_with_names(tmp_path: Path) -> None:
    torch.save({f"{'x' * 900}{i}": torch.randn(12, 6) for i in range(9)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as raised:
        open_tensors(tmp_path / "x.pt").read("y")
    assert len(str(raised.value)) <= 400


def test_a_step_that_no_training_reaches_counts_as_none(tmp_path: Path) -> None:
    """The step seeds the sample of a vocabulary, and torch refused a larger seed with a traceback."""
    for step in (2**70, -1):
        torch.save({"state_dict": {"head.weight": torch.randn(12, 3)}, "global_step": step}, tmp_path / "model.ckpt")
        assert open_tensors(tmp_path / "model.ckpt").step == 0

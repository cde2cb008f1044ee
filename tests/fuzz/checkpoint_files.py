"""Checkpoints of every kind that the package reads: files of torch, pickles, safetensors, arrays, indices and folders."""

import io
import json
import os
import pickle
import socket
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from typing_extensions import override

from tests.fuzz.commands import check_command
from tests.fuzz.mutations import bad_bytes, bad_name, bad_number

__all__ = ["case", "odd_entry"]

NAMES: Final = ("fc.weight", "head.weight", "model.fc.weight", "lm_head.weight", "classifier.kernel", "W", "weight", "fc.bias")
_DTYPES: Final = (torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.int64)


def case(draw: Random, folder: Path) -> Callable[[], object]:
    """A checkpoint, read by `analyze`, and in one of ten cases by `compare`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls some kinds of tensors a prototype
        path = draw.choice(_KINDS)(draw, folder)
    options: list[object] = []
    if draw.random() < 0.3:
        options += ["--head", draw.choice((*NAMES, "fc", bad_name(draw, long=10_000) or "x")).lstrip("-") or "x"]
    if draw.random() < 0.1:
        return lambda: check_command("compare", path, path, *options)
    return lambda: check_command("analyze", path, *options)


# Tensors


def _tensor(draw: Random) -> Any:
    kind = draw.randrange(16)
    if kind < 6:
        shape = draw.choice(((3, 2), (12, 6), (6,), (3,), (1, 1), (0, 6), (6, 0), (), (4, 2, 1), (2,) * 9, (1,) * 60))
        values = torch.randn(shape)
        if draw.random() < 0.2 and values.numel():
            values.view(-1)[0] = float(draw.choice(("nan", "inf", "-inf", "1e38", "1e-40")))
        return values.to(draw.choice(_DTYPES))
    makers: tuple[Callable[[], Any], ...] = (
        lambda: torch.ones(1, 1).expand(draw.choice((3, 10**6, 10**9)), draw.choice((2, 10**4))),
        lambda: torch.ones(100).as_strided((10**5, 90), draw.choice(((0, 1), (0, 0)))),
        lambda: torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), (10**9, 6)),
        lambda: torch.eye(6).to_sparse_csr(),
        lambda: torch.empty(10**9, 6, device="meta"),
        lambda: torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.strided),
        lambda: torch.ones(12, 3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        lambda: torch.quantize_per_tensor(torch.ones(12, 6), 0.1, 0, torch.qint8),
        lambda: torch.ones(12, 6, dtype=torch.complex64),
        lambda: torch.nn.Parameter(torch.randn(12, 6)),
    )
    return makers[kind - 6]()


def _content(draw: Random) -> Any:
    """The content of a file of torch."""
    content: dict[Any, Any] = {}
    for _ in range(draw.choice((1, 1, 2, 5))):
        name = draw.choice((draw.choice(NAMES), draw.choice(NAMES), bad_name(draw, long=300_000)))
        content[name] = draw.choice((_tensor, _tensor, _tensor, _other))(draw)
    if draw.random() < 0.2:
        content[draw.choice((1, 1.5, None, (1, 2), 10**3000, b"x"))] = _tensor(draw)
    if draw.random() < 0.1:
        content["again"] = content  # a dictionary within itself
    for _ in range(draw.choice((0, 0, 0, 1, 1, 30))):
        content = {draw.choice(("state_dict", "model", "optimizer", "ema", bad_name(draw, long=900))): content}
    if draw.random() < 0.2:
        content |= {"pytorch-lightning_version": "2", "global_step": draw.choice((3, -1, 10**4000, "x", None, 2**70))}
    return draw.choice((content, content, content, OrderedDict(content), [content], _tensor(draw)))


def _other(draw: Random) -> Any:
    shared: Any = [(1,)]
    for _ in range(60):
        shared = [shared, shared]
    return draw.choice((None, 3, "x", [1] * 3_000, {"a": {}}, {1, 2}, b"x" * 9, bytearray(b"xy"), 2**5_000, shared, (1, 2), 1j))


def _of_torch(draw: Random, folder: Path) -> Path:
    path = folder / f"{draw.choice(('x', 'x', 'a b', 'x.y'))}{draw.choice(('.pt', '.ckpt', '.pth', '.bin'))}"
    torch.save(_content(draw), made := io.BytesIO(), _use_new_zipfile_serialization=draw.random() < 0.6)
    data = made.getvalue()
    kind = draw.random()
    path.write_bytes(bad_bytes(draw, data) if kind < 0.3 else _of_archive(draw, data) if kind < 0.6 else data)
    return path


def _of_archive(draw: Random, data: bytes) -> bytes:
    """A zip archive whose entries are doubled, left out, swapped, compressed, damaged or renamed."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    number = draw.randrange(len(entries))
    name, content = entries[number]
    changed: dict[int, Callable[[], list[tuple[str, bytes]]]] = {
        0: lambda: [*entries, (name, bad_bytes(draw, content))],
        1: lambda: entries[:number] + entries[number + 1 :],
        2: lambda: [*entries[:number], (name, entries[-1][1]), *entries[number + 1 :]],
        3: lambda: [(one, bad_bytes(draw, text) if one == name else text) for one, text in entries],
        4: lambda: [(bad_name(draw, long=30_000) or "x" if one == name else one, text) for one, text in entries],
        5: lambda: [(one, _pickle(draw) if one.endswith("data.pkl") else text) for one, text in entries],
        6: lambda: entries + [(f"archive/data/{number}", bytes(9)) for number in range(2_000)],
    }
    entries = changed[draw.randrange(7)]()
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", draw.choice((0, 0, 0, 8))) as archive:
        warnings.simplefilter("ignore")  # of doubled names
        for one, text in entries:
            archive.writestr(one.encode("utf-8", "replace").decode().replace("\0", "") or "x", text)
    return made.getvalue()


# Pickles


class _Runs:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    @override
    def __reduce__(self) -> Any:
        return self.call


def _pickle(draw: Random) -> bytes:
    """A pickle that runs code, or asks torch for much time or memory."""
    size = draw.choice((3, 2**31 - 1, 10**5))
    number = b"J" + struct.pack("<i", size)
    calls = (
        lambda: _Runs(os.system, "touch canary"),
        lambda: _Runs(eval, "open('canary', 'w')"),
        lambda: _Runs(exec, "import pathlib; pathlib.Path('canary').touch()"),
        lambda: _Runs(open, "canary", "w"),
        lambda: _Runs(np.save, "canary", np.ones(1)),
        lambda: _Runs(torch.save, 1, "canary"),
        lambda: _Runs(torch.hub.load, "x", "y"),
        lambda: _Runs(bytearray, size),
        lambda: _Runs(set, [_doubled(40)]),
        lambda: {"fc.weight": torch.ones(3, 2), "x": _Runs(os.mkdir, "canary")},
    )
    allocates = draw.choice(
        (b"ctorch\nTensor\n", b"ctorch\nFloatTensor\n", b"ctorch.storage\nUntypedStorage\n", b"cbuiltins\nbytearray\n")
    )
    levels = draw.choice((3, 40, 200))
    raw = (
        lambda: b"\x80\x02" + allocates + number + draw.choice((b"\x85", number + b"\x86")) + draw.choice((b"R.", b"\x81.")),
        lambda: b"\x80\x02}X\x09\0\0\0fc.weight" + allocates + number + number + b"\x86Rs.",
        lambda: b"\x80\x02}(K\x01" + _of_levels(levels) + b"K\x01u.",
        lambda: b"\x80\x02}" + _of_levels(levels) + b"K\x01s.",
        lambda: b"\x80\x02ccollections\nCounter\n" + _of_levels(levels) + b"\x85R.",
        lambda: b"\x80\x02" + draw.choice((b"(", b"]", b"}", b"K\x01\x85", b"h\x00", b"N")) * draw.choice((9, 10**5, 9 * 10**6)),
        lambda: (
            b"\x80\x02"
            b"c"
            + draw.choice((b"os\nsystem", b"builtins\neval", b"torch\nload", b"\xff\n\xff"))
            + b"\n(X\x0c\0\0\0touch canarytR."
        ),
        lambda: b"\x80\x02X" + struct.pack("<I", 2**31) + b"a.",
        lambda: b"\x80\x02\x8a\xff" + bytes(255) + b".",
    )
    if draw.random() < 0.5:
        return draw.choice(raw)()
    return pickle.dumps(draw.choice(calls)(), protocol=draw.choice((0, 2, 2, 2, 4)))


def _doubled(levels: int) -> Any:
    value: Any = (1,)
    for _ in range(levels):
        value = (value, value)
    return value


def _of_levels(levels: int) -> bytes:
    """A pickled tuple that holds another one twice, and so on."""
    made = b"K\x01\x85q\x00"
    for level in range(levels):
        made += b"0h" + bytes([level]) + b"h" + bytes([level]) + b"\x86q" + bytes([level + 1])
    return made


def _of_pickle(draw: Random, folder: Path) -> Path:
    path = folder / f"x{draw.choice(('.pt', '.ckpt', '.bin'))}"
    data = _pickle(draw)
    if draw.random() < 0.4:  # within an older file of torch
        head = b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        data = head + data + pickle.dumps([], 2)
    path.write_bytes(bad_bytes(draw, data) if draw.random() < 0.2 else data)
    return path


# Arrays


def _header(draw: Random) -> str:
    dtype = draw.choice(
        ("'<f4'", "'<f4'", "'<f8'", "'>f4'", "'<f16'", "'|O'", "'|V0'", "'|V9'", "'<U9'", "'<M8[s]'", "'<c8'", "[('a','<f8')]")
    )
    side = draw.choice(("3", "2", "0", "-1", "10000000000", bad_number(draw)[:4_000]))
    shape = draw.choice(
        ("(3,2)", "(12,6)", f"({side},2)", f"(3,{side})", f"({side},)", "()", "(1,)*99", "[3,2]", f"({side},{side})")
    )
    text = f"{{'descr':{dtype},'fortran_order':{draw.choice(('False', 'True', '3'))},'shape':{shape}}}"
    return draw.choice(
        (
            text,
            text,
            text,
            text,
            text,
            text[:-1],
            f"{text[:-1]},'more':1}}",
            "(" * 4_000,
            "__import__('os').system('touch canary')",
        )
    )


def _npy(draw: Random) -> bytes:
    text = _header(draw)
    text += " " * draw.choice((0, 9, 9_000)) + "\n"
    version = draw.choice((1, 1, 1, 2, 3, 9))
    size = len(text) if draw.random() < 0.8 else draw.choice((0, 3, 60_000))
    packed = struct.pack("<H" if version == 1 else "<I", min(size, 65_535))
    made = (
        b"\x93NUMPY" + bytes([version, 0]) + packed + text.encode("utf-8", "replace") + bytes(draw.choice((0, 24, 96, 288, 300)))
    )
    return bad_bytes(draw, made) if draw.random() < 0.2 else made


def _of_numpy(draw: Random, folder: Path) -> Path:
    if draw.random() < 0.5:
        path = folder / "x.npy"
        path.write_bytes(_npy(draw))
        return path
    path = folder / "x.npz"
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", draw.choice((0, 8))) as archive:
        warnings.simplefilter("ignore")
        for name in (
            "fc.weight.npy",
            *draw.choices(("fc.weight.npy", "fc.bias.npy", "x", bad_name(draw, long=9_000) or "y"), k=2),
        ):
            content = bytes(9 * 10**7) if draw.random() < 0.01 else _npy(draw)
            archive.writestr(name.encode("utf-8", "replace").decode().replace("\0", "") or "x", content)
    path.write_bytes(bad_bytes(draw, made.getvalue()) if draw.random() < 0.3 else made.getvalue())
    return path


def _safetensors(draw: Random) -> bytes:
    weight = {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}
    header: dict[str, Any] = {draw.choice((*NAMES, bad_name(draw, long=200_000))): dict(weight)}
    if draw.random() < 0.7:
        one = next(iter(header.values()))
        key = draw.choice((*one, "more"))
        one[key] = {
            "dtype": draw.choice(("F64", "I64", "BF16", "F8_E4M3", "F4", "BOOL", "X", 3, None, "C64")),
            "shape": draw.choice(([], [0, 2], [2**40, 2**40], [-1, 2], [6], [3, 2.0], "x", [1] * 100, [2**64, 0])),
            "data_offsets": draw.choice(([0, 24], [24, 0], [0, 2**63], [0, 2**64], [0], [-1, 23], "x", [0, 23], [8, 32])),
        }.get(key, 1)
    if draw.random() < 0.2:
        header["__metadata__"] = draw.choice(({"a": "b"}, {"a": 1}, 3, {"x" * 9_000: "y"}))
    text = draw.choice(
        (json.dumps(header), json.dumps(header), json.dumps(header)[:-1], "[" * 9_000, json.dumps(header) + " " * 9_000)
    ).encode()
    size = len(text) if draw.random() < 0.9 else draw.choice((0, 2**63, 2**64 - 1, 10**8, len(text) + 1))
    made = struct.pack("<Q", size) + text + bytes(24)
    return bad_bytes(draw, made) if draw.random() < 0.2 else made


def _of_safetensors(draw: Random, folder: Path) -> Path:
    path = folder / "x.safetensors"
    path.write_bytes(_safetensors(draw))
    return path


# Several files


def _of_index(draw: Random, folder: Path, name: str = "x.safetensors.index.json") -> Path:
    shard = draw.choice(("a.safetensors", "a.pt", "a.bin"))
    (folder / shard).write_bytes(_safetensors(draw) if shard.endswith("s") else bad_bytes(draw, b""))
    if draw.random() < 0.5:
        safetensors.torch.save_file({"fc.weight": torch.randn(3, 2)}, folder / shard)
    odd = draw.choice((bad_name(draw, long=200_000), "../../etc/passwd", "/dev/zero", name, ".", "b.safetensors", 3, None, ["x"]))
    places = {
        "fc.weight": draw.choice((shard, shard, odd)),
        draw.choice((*NAMES, bad_name(draw, long=200_000))): draw.choice((shard, odd)),
    }
    content = draw.choice(({"weight_map": places}, {"weight_map": places}, {"weight_map": odd}, places, [places], odd))
    data = json.dumps(content).encode()
    (folder / name).write_bytes(bad_bytes(draw, data) if draw.random() < 0.3 else data)
    return folder / name


def _of_folder(draw: Random, folder: Path) -> Path:
    model = folder / draw.choice(("model", "a b", "\x1b[2J", "日"))
    model.mkdir()
    if draw.random() < 0.2:
        _of_index(draw, model, "model.safetensors.index.json")
    else:
        tensors = {
            "lm_head.weight": torch.randn(6, 2),
            "model.embed_tokens.weight": torch.randn(6, 2),
            "score.weight": torch.randn(3, 2),
        }
        kept = dict(draw.sample(sorted(tensors.items()), draw.choice((1, 2, 3))))
        safetensors.torch.save_file(kept, model / "model.safetensors")
    for name, content in _around(draw).items():
        data = json.dumps(content).encode() if name.endswith("json") else str(content).encode("utf-8", "surrogatepass")
        (model / name).write_bytes(bad_bytes(draw, data) if draw.random() < 0.2 else data)
    if draw.random() < 0.1:
        odd_entry(
            draw, model / draw.choice(("vocab.json", "tokenizer.json", "config.json", "model.safetensors", "added_tokens.json"))
        )
    return draw.choice((model, model, model / "model.safetensors"))


def _around(draw: Random) -> dict[str, Any]:
    """The JSON and text files in the folder of a saved model."""
    odd = _odd(draw)
    config = {
        "architectures": draw.choice((["LlamaForCausalLM"], ["BertForSequenceClassification"], [odd], odd, [])),
        "model_type": draw.choice(("llama", odd)),
        "vocab_size": draw.choice((6, odd)),
        "id2label": draw.choice(({"0": "a", "1": bad_name(draw, long=9_000), "2": "c"}, odd, {bad_number(draw): "x"})),
        draw.choice(
            ("tie_word_embeddings", "final_logit_softcapping", "logit_scale", "text_config", "problem_type", "num_labels")
        ): odd,
    }
    tokens = {bad_name(draw, long=9_000): draw.choice((number, number, odd)) for number in range(6)}
    files: dict[str, Any] = {
        "vocab.json": tokens,
        "tokenizer.json": {
            "model": {"vocab": draw.choice((tokens, odd, [["a", 1]], [odd] * 6))},
            "added_tokens": draw.choice(([odd], odd)),
        },
        "added_tokens.json": tokens,
        "tokenizer_config.json": {"added_tokens_decoder": draw.choice(({"0": {"content": bad_name(draw)}}, odd))},
        "vocab.txt": "\n".join(bad_name(draw, long=9_000) for _ in range(6)),
    }
    chosen = dict(draw.sample(sorted(files.items()), draw.choice((0, 1, 2))))
    return {"config.json": draw.choice((config, config, config, config, odd)), **chosen}


def _odd(draw: Random) -> Any:
    deep: Any = 1
    for _ in range(draw.choice((2, 200))):
        deep = [deep]
    numbers = (0, -1, 3.5, float("nan"), float("inf"), 10**300, 10**4000, 1e308)
    return draw.choice((None, True, "x", "6", [], {}, [None], {"a": 1}, deep, bad_name(draw, long=9_000), *numbers))


def odd_entry(draw: Random, path: Path) -> Path:
    """Something else than a regular file at a path."""
    if path.exists():
        path.unlink()
    kind = draw.randrange(8)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    elif kind < 7:
        path.symlink_to(("/dev/zero", "nowhere", path.name, "/proc/self/mem", ".")[kind - 2])
    else:
        path.mkdir()
    return path


def _of_no_file(draw: Random, folder: Path) -> Path:
    suffix = draw.choice((".pt", ".ckpt", ".npy", ".npz", ".safetensors", ".safetensors.index.json", ""))
    path = folder / f"x{suffix}"
    return path if draw.random() < 0.2 else odd_entry(draw, path)


_KINDS: Final = (
    *(_of_torch, _of_torch, _of_torch, _of_pickle, _of_pickle, _of_numpy, _of_numpy),
    *(_of_safetensors, _of_index, _of_folder, _of_folder, _of_no_file),
)

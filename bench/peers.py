"""Times what a user would run instead, on one GPU: the Triton kernels of flash-linear-attention and mlstm_kernels.

One JSON object a program on standard output: median forward time in milliseconds (CUDA events over
random data, caches cold, by triton's do_bench), eager and replayed from a CUDA graph. See `bench/compare`.

    python3 bench/peers.py --shape 8x4096x16 --width 128 [--only gla,kda]
    python3 bench/peers.py --ceilings
"""
import argparse
import importlib
import importlib.metadata
import json

import torch
import torch.nn.functional as F
from triton.testing import do_bench, do_bench_cudagraph

DEVICE = "cuda"
PACKAGES = ("triton", "fla-core", "mlstm_kernels", "flash-qla")


def vectors(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16)


def units(*shape):
    return F.normalize(vectors(*shape).float(), dim=-1).bfloat16()


def log_gates(*shape):
    return F.logsigmoid(torch.randn(*shape, device=DEVICE)) / 16


# Inputs that need nothing but their shape; a row is [sequences, tokens, heads, width].
KINDS = {
    "vector": lambda row: vectors(*row), "unit": lambda row: units(*row), "bonus": lambda row: vectors(*row[2:]),
    "gates": lambda row: log_gates(*row), "gate": lambda row: log_gates(*row[:3]),
    "strength": lambda row: torch.rand(*row[:3], device=DEVICE).bfloat16(),
}


def rwkv7(row):
    r, k, v, kappa = vectors(*row), vectors(*row), vectors(*row), units(*row)
    a, w = torch.sigmoid(vectors(*row)), log_gates(*row).bfloat16()
    return r, w, k, v, -kappa, kappa * a


def hgrn(row):
    # The scan alone: its input is gated before, its output is not.
    batch, tokens, heads, width = row
    return vectors(batch, tokens, heads * width), log_gates(batch, tokens, heads * width)


def hgrn2(row):
    # Has no kernel of its own; the keys, what the gates let go, are made before.
    q, v, g = vectors(*row), vectors(*row), log_gates(*row)
    return q, (1 - g.exp()).bfloat16(), v, g


def gsa(row):
    g = log_gates(*row[:3], 64)  # slots
    return vectors(*row), vectors(*row), vectors(*row), (1 - g.exp()).bfloat16(), g


def mlstm(row):
    # Without the output gate. Heads come before tokens here.
    batch, tokens, heads, width = row
    q, k, v = (vectors(batch, heads, tokens, width) for _ in "qkv")
    i, f = (torch.randn(batch, heads, tokens, device=DEVICE) + bias for bias in (0, 3))
    return q, k, v, i, f


# The kernel, its inputs in their order, and what else it is told.
PEERS = {
    "linear_attention": ("fla.ops.linear_attn.chunk_linear_attn", "vector vector vector", {"normalize": False}),
    "retention": ("fla.ops.retention.chunk_retention", "vector vector vector", {}),
    "simple_gla": ("fla.ops.simple_gla.chunk_simple_gla", "vector vector vector gate", {}),
    "ssd": ("fla.ops.simple_gla.chunk_simple_gla", "vector vector vector gate", {}),  # given keys a head, and gates
    "gla": ("fla.ops.gla.chunk_gla", "vector vector vector gates", {}),
    "delta_rule": ("fla.ops.delta_rule.chunk_delta_rule", "vector unit vector strength", {}),
    "gated_delta_rule": ("fla.ops.gated_delta_rule.chunk_gated_delta_rule", "vector unit vector gate strength", {}),
    "kda": ("fla.ops.kda.chunk_kda", "vector unit vector gates strength", {}),
    "rwkv7": ("fla.ops.rwkv7.chunk_rwkv7", rwkv7, {}),
    "hgrn": ("fla.ops.hgrn.chunk_hgrn", hgrn, {}),
    "gsa": ("fla.ops.gsa.chunk_gsa", gsa, {}),
    "mlstm": ("mlstm_kernels.torch.chunkwise.triton_xl_chunk.mlstm_chunkwise__xl_chunk", mlstm, {}),
    "hgrn2": ("fla.ops.gla.chunk_gla", hgrn2, {"scale": 1.0}),
    "rwkv6": ("fla.ops.rwkv6.chunk_rwkv6", "vector vector vector gates bonus", {}),
}


def ceilings():
    """Rates of a large copy, bytes read and written, and of a large matrix product; and what measured them."""
    source = torch.randint(255, (1 << 31,), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    copy = do_bench(lambda: target.copy_(source), return_mode="median")
    a, b = vectors(8192, 8192), vectors(8192, 8192)
    product = do_bench(lambda: a @ b, return_mode="median")
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        **{d.name: d.version for d in importlib.metadata.distributions() if d.name in PACKAGES},
        "copy_tb_s": 2 * source.numel() / copy / 1e9,
        "matrix_tflop_s": 2 * 8192**3 / product / 1e9,
    }


def times(program, shape, width):
    name, inputs, options = PEERS[program]
    module, _, function = name.rpartition(".")
    kernel = getattr(importlib.import_module(module), function)
    row = (*shape, width)
    draw = inputs if callable(inputs) else lambda row: [KINDS[kind](row) for kind in inputs.split()]
    torch.manual_seed(0)
    with torch.no_grad():
        sets = [draw(row)]
        eager = do_bench(lambda: kernel(*sets[0], **options), warmup=50, rep=200, return_mode="median")
        # A graph takes sets of inputs in turn that together do not fit the cache, as ours do.
        cached = torch.cuda.get_device_properties().L2_cache_size // sum(x.nbytes for x in sets[0])
        sets += [draw(row) for _ in range(min(63, 2 * cached + 1))]
        try:
            graph = do_bench_cudagraph(
                lambda: [kernel(*one, **options) for one in sets], rep=200, return_mode="median") / len(sets)
        except RuntimeError:
            graph = None  # a kernel that synchronises cannot be captured
    return {"eager_ms": eager, "graph_ms": graph}


def measure(program, shape, width):
    """Times of one peer; or which package is `missing`, or the `error`: one that fails must not hide the others."""
    try:
        found = times(program, shape, width)
    except ModuleNotFoundError as error:
        found = {"missing": error.name.split(".")[0]}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    torch.cuda.empty_cache()  # whoever is timed next needs the memory
    return {"program": program, **found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="8x4096x16", help="sequences x tokens x heads")
    parser.add_argument("--width", type=int, default=128, help="size of keys and values")
    parser.add_argument("--only", help="programs, separated by commas")
    parser.add_argument("--ceilings", action="store_true", help="measure the machine instead")
    arguments = parser.parse_args()
    if arguments.ceilings:
        return print(json.dumps(ceilings()))
    shape = [int(n) for n in arguments.shape.split("x")]
    for program in arguments.only.split(",") if arguments.only else PEERS:
        print(json.dumps(measure(program, shape, arguments.width)), flush=True)


if __name__ == "__main__":
    main()

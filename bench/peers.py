"""Times what a user would run instead: the Triton kernels of flash-linear-attention, on one GPU.

One JSON object a program on standard output: median forward time in milliseconds (CUDA events over
random data, caches cold, by triton's do_bench), eager and replayed from a CUDA graph.

    python3 bench/peers.py --shape 8x4096x16 --width 128 [--only gla,kda]
    python3 bench/peers.py --ceilings
"""
import argparse
import json
import time

import torch
import torch.nn.functional as F
from triton.testing import do_bench, do_bench_cudagraph

DEVICE = "cuda"


def vectors(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16)


def units(*shape):
    return F.normalize(vectors(*shape).float(), dim=-1).bfloat16()


def log_gates(*shape):
    return F.logsigmoid(torch.randn(*shape, device=DEVICE)) / 16


def strengths(*shape):
    return torch.rand(*shape, device=DEVICE).bfloat16()


def linear_attention(row, gate):
    from fla.ops.linear_attn import chunk_linear_attn
    q, k, v = vectors(*row), vectors(*row), vectors(*row)
    return lambda: chunk_linear_attn(q, k, v, normalize=False)


def retention(row, gate):
    from fla.ops.retention import chunk_retention
    q, k, v = vectors(*row), vectors(*row), vectors(*row)
    return lambda: chunk_retention(q, k, v)


def ssd(row, gate):
    # The scalar-gated kernel, given keys and queries for each head.
    from fla.ops.simple_gla import chunk_simple_gla
    q, k, v, g = vectors(*row), vectors(*row), vectors(*row), log_gates(*gate)
    return lambda: chunk_simple_gla(q, k, v, g)


def gla(row, gate):
    from fla.ops.gla import chunk_gla
    q, k, v, g = vectors(*row), vectors(*row), vectors(*row), log_gates(*row)
    return lambda: chunk_gla(q, k, v, g)


def rwkv6(row, gate):
    from fla.ops.rwkv6 import chunk_rwkv6
    r, k, v, w = vectors(*row), vectors(*row), vectors(*row), log_gates(*row)
    u = vectors(*row[2:])
    return lambda: chunk_rwkv6(r, k, v, w, u)


def delta_rule(row, gate):
    from fla.ops.delta_rule import chunk_delta_rule
    q, k, v, beta = vectors(*row), units(*row), vectors(*row), strengths(*gate)
    return lambda: chunk_delta_rule(q, k, v, beta)


def gated_delta_rule(row, gate):
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    q, k, v, beta = vectors(*row), units(*row), vectors(*row), strengths(*gate)
    g = log_gates(*gate)
    return lambda: chunk_gated_delta_rule(q, k, v, g, beta)


def kda(row, gate):
    from fla.ops.kda import chunk_kda
    q, k, v, beta = vectors(*row), units(*row), vectors(*row), strengths(*gate)
    g = log_gates(*row)
    return lambda: chunk_kda(q, k, v, g, beta)


def rwkv7(row, gate):
    from fla.ops.rwkv7 import chunk_rwkv7
    r, k, v, kappa = vectors(*row), vectors(*row), vectors(*row), units(*row)
    a, w = torch.sigmoid(vectors(*row)), log_gates(*row).bfloat16()
    return lambda: chunk_rwkv7(r, w, k, v, -kappa, kappa * a)


PEERS = [
    linear_attention, retention, ssd, gla, rwkv6, delta_rule, gated_delta_rule, kda, rwkv7,
]


def ceilings():
    """Bytes a second of a large copy, read and written, and the rate of a large matrix product."""
    source = torch.randint(255, (1 << 31,), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    copy = do_bench(lambda: target.copy_(source), return_mode="median")
    a, b = vectors(8192, 8192), vectors(8192, 8192)
    product = do_bench(lambda: a @ b, return_mode="median")
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "copy_tb_s": 2 * source.numel() / copy / 1e9,
        "matrix_tflop_s": 2 * 8192**3 / product / 1e9,
    }


def measure(peer, shape, width):
    batch, tokens, heads = shape
    row, gate = (batch, tokens, heads, width), (batch, tokens, heads)
    torch.manual_seed(0)
    with torch.no_grad():
        run = peer(row, gate)
        start = time.time()
        run()
        torch.cuda.synchronize()
        first = time.time() - start
        eager = do_bench(run, warmup=50, rep=200, return_mode="median")
        try:
            graph = do_bench_cudagraph(run, rep=200, return_mode="median")
        except RuntimeError:
            graph = None  # a kernel that synchronises cannot be captured
    return {"program": peer.__name__, "eager_ms": eager, "graph_ms": graph, "first_call_s": first}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="8x4096x16", help="sequences x tokens x heads")
    parser.add_argument("--width", type=int, default=128, help="size of keys and values")
    parser.add_argument("--only", help="programs, separated by commas")
    parser.add_argument("--ceilings", action="store_true", help="measure the machine instead")
    arguments = parser.parse_args()
    if arguments.ceilings:
        print(json.dumps(ceilings()))
        return
    shape = [int(n) for n in arguments.shape.split("x")]
    wanted = arguments.only.split(",") if arguments.only else [p.__name__ for p in PEERS]
    for peer in PEERS:
        if peer.__name__ not in wanted:
            continue
        try:
            print(json.dumps(measure(peer, shape, arguments.width)), flush=True)
        except Exception as error:  # one peer that fails must not hide the others
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            print(json.dumps({"program": peer.__name__, "error": reason}), flush=True)


if __name__ == "__main__":
    main()

"""Counts modulo 2 and modulo 3 over long sequences with negative eigenvalues, and checks every token.

    bench/state_tracking.py SLUICE [--device] [--tokens 100000] [--json FILE]

Parity: `signed_gla` with decays of -1 where the input is 1. Modulo 3: `gated_delta_product`, whose two
reflections I - k k^T with k = e_i - e_j exchange two rows each; one after the other they turn three rows
round. All factors are whole numbers, so kernels must be exact.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np

K = V = 16


def run(arguments, program, arrays):
    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder, "x.npz"), pathlib.Path(folder, "y.npz")
        np.savez(source, **{name: array.astype(np.float32) for name, array in arrays.items()})
        command = [arguments.sluice, "run", program, "--input", source, "--output", result]
        subprocess.run(command + ["--device"] * arguments.device, check=True)
        return np.load(result)["o"]


def parity(arguments, bits):
    tokens = len(bits)
    q, k, v = (np.zeros((tokens, 1, n)) for n in (K, K, V))
    q[:, 0, 0] = 1
    k[0, 0, 0] = v[0, 0, 0] = 1
    a = np.ones((tokens, 1, K))
    a[1:, 0, 0] = 1 - 2 * bits[1:]
    o = run(arguments, "signed_gla", dict(q=q, k=k, v=v, a=a))[:, 0, 0]
    return int((o != 1 - 2 * (np.cumsum(np.append(0, bits[1:])) % 2)).sum())


def modulo_three(arguments, steps):
    tokens = len(steps)
    vectors = lambda n: np.zeros((tokens, 1, n))
    arrays = dict(q=vectors(K), k1=vectors(K), k2=vectors(K), v1=vectors(V), v2=vectors(V))
    arrays |= {name: np.ones((tokens, 1)) for name in ("beta1", "beta2")} | {"g": np.zeros((tokens, 1))}
    arrays["q"][:, 0, :3] = [0, 1, 2]
    # A step of 1 exchanges rows 0 and 1, then 1 and 2; a step of 2 the other way round.
    first, second = np.array([1, -1, 0]), np.array([0, 1, -1])
    for step, keys in ((1, (first, second)), (2, (second, first))):
        arrays["k1"][steps == step, 0, :3] = keys[0]
        arrays["k2"][steps == step, 0, :3] = keys[1]
    arrays["S"] = np.zeros((1, 1, K, V))
    arrays["S"][0, 0, :3, :3] = np.eye(3)
    o = run(arguments, "gated_delta_product", arrays)[:, 0, :3] * np.sqrt(K)

    state, want = np.eye(3), np.empty((tokens, 3))
    turn = {0: np.eye(3)}
    exchange = lambda key: np.eye(3) - np.outer(key, key)
    turn[1], turn[2] = exchange(second) @ exchange(first), exchange(first) @ exchange(second)
    for token, step in enumerate(steps):
        state = turn[int(step)] @ state
        want[token] = np.array([0, 1, 2]) @ state
    return int((o != want).any(axis=1).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sluice")
    parser.add_argument("--device", action="store_true")
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    random = np.random.Generator(np.random.PCG64(3))
    wrong = {
        "parity": parity(arguments, random.integers(0, 2, arguments.tokens)),
        "modulo three": modulo_three(arguments, random.integers(0, 3, arguments.tokens)),
    }
    report = {"tokens": arguments.tokens, "device": arguments.device, "wrong tokens": wrong}
    print(json.dumps(report))
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Writes palimpsest.npz: two sequences, 63 and 37 tokens long, two heads in one group, K = V = 32.

Every number comes from one seeded generator, so that the file is the same on every machine.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

TOKENS, HEADS, GROUPS, K, V = 100, 2, 1, 32, 32
random = np.random.Generator(np.random.PCG64(2026))


def unit(x):
    """Vectors of length one along the last axis."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


arrays = {
    "q": random.standard_normal((TOKENS, GROUPS, K)),
    "k": unit(random.standard_normal((TOKENS, GROUPS, K))),
    "v": random.standard_normal((TOKENS, HEADS, V)),
    # From almost no decay to a half-life of one token.
    "w": -np.exp(random.uniform(np.log(1e-3), np.log(0.7), (TOKENS, HEADS, V))),
    "u": unit(random.standard_normal((TOKENS, HEADS, V))),
    "beta": random.uniform(0, 1, (TOKENS, HEADS)),
    "alpha": random.uniform(0, 1, (TOKENS, HEADS)),
}

arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
arrays["cu_seqlens"] = np.array([0, 63, TOKENS], dtype=np.int64)

# numpy.savez records the time of day; without it the file's bytes are always the same.
with zipfile.ZipFile(Path(__file__).with_name("palimpsest.npz"), "w") as archive:
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())

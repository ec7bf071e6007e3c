"""Compares `sluice run` with the references that flash-linear-attention's authors wrote in plain torch.

The definition of a program here and its reference there are two readings of one paper; this asks whether
they are the same function. Programs run in f64 on the CPU; the references are read as text and their
casts to f32 replaced by f64, so that what is left is a difference of meaning and not of rounding.
A row of the table is one program: its arrays, and how the reference takes them. `scripts/oracle`
prepares what this needs and runs it.

    python3 bench/oracle.py --sluice target/debug/sluice [--only gla,kda] [--json FILE]
"""
import argparse
import importlib.metadata
import json
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import types

import numpy as np
import torch
import torch.nn.functional as F

TOKENS, HEADS = 70, 2
SIZES = {"K": 12, "V": 20, "M": 5, "N": 12, "P": 20, "E": 24, "D": 16}

# Relative rms error: both sides are f64, which leaves a few digits to long sums.
BOUND = 1e-9

ROWS = []


def row(program, reference, bound=BOUND, **inputs):
    """A program, the function it is compared with (`FILE:NAME` below fla/ops), and its inputs.

    An input is its dimensions and its kind: `K` for vectors of that size a token and head, an empty
    list for scalars, `param` in front for one value a head. The decorated function takes the
    reference and the inputs as tensors [1, tokens, heads, ..] or [heads, ..], and returns outputs
    [1, tokens, heads, ..] and final states [1, heads, ..] by their names in the program.
    """
    def add(compare):
        ROWS.append((program, reference, bound, inputs, compare))
        return compare
    return add


# Kinds of inputs: like the verifier's, vectors of norm 1 and decays that leave something to forget.

def draw(rng, description):
    words = description.split()
    per_head = "param" in words
    dims = [SIZES[word] for word in words if word in SIZES]
    shape = ([HEADS] if per_head else [TOKENS, HEADS]) + dims
    kind = (set(words) & KINDS.keys()) or {"normal"}
    values = KINDS[kind.pop()](rng.standard_normal(shape), rng.uniform(0, 1, shape))
    # Scalars and gates are f32 for the compiler.
    return values.astype(np.float32).astype(np.float64)


KINDS = {
    "normal": lambda normal, uniform: normal / np.sqrt(max(1, normal.shape[-1])),
    "unit": lambda normal, uniform: normal / np.linalg.norm(normal, axis=-1, keepdims=True),
    "decay": lambda normal, uniform: -0.01 - uniform,
    "share": lambda normal, uniform: uniform,
    "twice": lambda normal, uniform: 2 * uniform,
    "scale": lambda normal, uniform: 0.5 + uniform,
    "angle": lambda normal, uniform: 3 * normal,
    "retention": lambda normal, uniform: np.log(1 - 2.0 ** (-5 - np.arange(HEADS))),
}


def heads_first(*arrays):
    return [array.transpose(1, 2).contiguous() for array in arrays]


def phi(x):
    return F.elu(x) + 1


def each_token(x):
    """A value a head, for every token."""
    return x.expand(1, TOKENS, *x.shape)


def tied(f, q, i, g):
    """Gated linear attention in keys that the decays let go; its own scale is undone."""
    return f(q * q.shape[-1] ** 0.5, 1 - g.exp(), i, g, output_final_state=True)


# The table.

@row("linear_attention", "linear_attn/naive.py:naive_recurrent_linear_attn", q="K", k="K", v="V")
def linear_attention(f, q, k, v):
    o, S = f(q, k, v, scale=1.0, output_final_state=True)
    return {"o": o, "S": S}


# The reference adds 1e-10 to the denominator, the program 1e-6.
@row("linear_attention_normalised", "linear_attn/naive.py:naive_recurrent_linear_attn", bound=1e-6,
     q="K", k="K", v="V")
def linear_attention_normalised(f, q, k, v):
    o, (S, z) = f(phi(q), phi(k), v, scale=1.0, normalize=True, output_final_state=True)
    return {"o": o, "S": S, "z": z[:, 0]}


# The reference makes the decays itself, and does not round them to f32.
@row("retention", "retention/naive.py:naive_retention", bound=1e-6, q="K", k="K", v="V",
     g="param retention")
def retention(f, q, k, v, g):
    return {"o": f(*heads_first(q, k, v)).transpose(1, 2)}


@row("retnet", "simple_gla/naive.py:naive_recurrent_simple_gla",
     q_re="K", q_im="K", k_re="K", k_im="K", v="V", g="param decay", theta="param K angle")
def retnet(f, q_re, q_im, k_re, k_im, v, g, theta):
    angle = torch.arange(TOKENS)[:, None, None] * theta
    q, k = turned(q_re, q_im, angle), turned(k_re, k_im, angle)
    o, _ = f(q, k, v, each_token(g), scale=1.0)
    return {"o": F.layer_norm(o, o.shape[-1:], eps=1e-6)}


def turned(re, im, angle):
    """The features of complex numbers turned by an angle: the real and the imaginary parts."""
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([re * cos - im * sin, re * sin + im * cos], -1)


@row("simple_gla", "simple_gla/naive.py:naive_recurrent_simple_gla", q="K", k="K", v="V", g="decay")
def simple_gla(f, q, k, v, g):
    o, S = f(q, k, v, g)
    return {"o": o, "S": S}


@row("lightning", "simple_gla/naive.py:naive_recurrent_simple_gla", q="K", k="K", v="V", g="param decay")
def lightning(f, q, k, v, g):
    o, S = f(F.silu(q), F.silu(k), v, each_token(g), scale=1.0)
    return {"o": F.rms_norm(o, o.shape[-1:], eps=1e-6), "S": S}


@row("ssd", "simple_gla/naive.py:naive_recurrent_simple_gla",
     x="P", dt="", B="N", C="N", A_log="param", dt_bias="param", D="param")
def ssd(f, x, dt, B, C, A_log, dt_bias, D):
    step = F.softplus(dt + dt_bias)
    y, S = f(C, B, step[..., None] * x, -A_log.exp() * step, scale=1.0)
    return {"y": y + D[:, None] * x, "S": S}


@row("gla", "gla/naive.py:naive_recurrent_gla", q="K", k="K", v="V", g="K decay")
def gla(f, q, k, v, g):
    o, S = f(q, k, v, g, output_final_state=True)
    return {"o": o, "S": S}


@row("hgrn2", "gla/naive.py:naive_recurrent_gla", q="K", i="V", g="K decay")
def hgrn2(f, q, i, g):
    o, S = tied(f, q, i, g)
    return {"o": o, "S": S}


@row("lightnet", "gla/naive.py:naive_recurrent_gla", q="K", k="K", v="V")
def lightnet(f, q, k, v):
    c = k.logcumsumexp(1)
    g = torch.cat([torch.full_like(c[:, :1], -torch.inf), c[:, :-1]], 1) - c
    o, S = f(F.silu(q) * q.shape[-1] ** 0.5, (k - c).exp(), v, g, output_final_state=True)
    return {"o": o, "S": S, "c": c[:, -1]}


@row("gateloop", "gla/naive.py:naive_recurrent_gla", q="K", k="K", v="V", g="K decay", theta="K angle")
def gateloop(f, q, k, v, g, theta):
    # Turning by the running angle and back again leaves a decay without a phase.
    angle = theta.cumsum(1)
    zero = torch.zeros_like(q)
    o, _ = f(turned(q, zero, angle) * (2 * q.shape[-1]) ** 0.5, turned(k, zero, angle), v,
             torch.cat([g, g], -1))
    return {"o": o}


@row("hgrn", "hgrn/naive.py:naive_recurrent_hgrn", i="E", r="E", g="E decay")
def hgrn(f, i, r, g):
    x = (1 - g.exp()) * i
    h, last = f(x[0].transpose(0, 1), g[0].transpose(0, 1), output_final_state=True)
    return {"o": r.sigmoid() * h.transpose(0, 1)[None], "h": last[None]}


@row("rwkv6", "rwkv6/recurrent_naive.py:naive_recurrent_rwkv6", r="K", k="K", v="V", w="K decay", u="param K")
def rwkv6(f, r, k, v, w, u):
    o, S = f(*heads_first(r, k, v, w), u, scale=1.0, output_final_state=True)
    return {"o": o.transpose(1, 2), "S": S}


@row("rwkv7", "generalized_delta_rule/dplr/naive.py:dplr_recurrence",
     r="K", k="K", v="V", w="K decay", kappa="K unit", a="K share")
def rwkv7(f, r, k, v, w, kappa, a):
    q = r * r.shape[-1] ** 0.5
    o, S = f(*heads_first(q, k, v, kappa, -a * kappa, w))
    return {"o": o.transpose(1, 2), "S": S}


@row("delta_rule", "delta_rule/naive.py:delta_rule_recurrence", q="K", k="K unit", v="V", beta="share")
def delta_rule(f, q, k, v, beta):
    o, S = f(*heads_first(q, k, v, beta))
    return {"o": o.transpose(1, 2), "S": S}


@row("delta_rule_negative_eigenvalues", "delta_rule/naive.py:delta_rule_recurrence",
     q="K", k="K unit", v="V", beta="twice")
def delta_rule_negative_eigenvalues(f, q, k, v, beta):
    return delta_rule(f, q, k, v, beta)


@row("gated_delta_rule", "gated_delta_rule/naive.py:naive_recurrent_gated_delta_rule",
     q="K", k="K unit", v="V", g="decay", beta="share")
def gated_delta_rule(f, q, k, v, g, beta):
    o, S = f(q, k, v, beta, g, output_final_state=True)
    return {"o": o, "S": S}


@row("gated_delta_rule_negative_eigenvalues", "gated_delta_rule/naive.py:naive_recurrent_gated_delta_rule",
     q="K", k="K unit", v="V", g="decay", beta="twice")
def gated_delta_rule_negative_eigenvalues(f, q, k, v, g, beta):
    return gated_delta_rule(f, q, k, v, g, beta)


@row("gated_delta_product", "gated_delta_product/naive.py:naive_recurrent_gated_delta_product",
     q="K", k1="K unit", v1="V", beta1="share", k2="K unit", v2="V", beta2="share", g="decay")
def gated_delta_product(f, q, k1, v1, beta1, k2, v2, beta2, g):
    k, v, beta = (torch.stack(pair, 2).flatten(1, 2) for pair in [(k1, k2), (v1, v2), (beta1, beta2)])
    o, S = f(q, k, v, g, beta, q.shape[-1] ** -0.5, output_final_state=True, num_householder=2)
    return {"o": o, "S": S}


@row("kda", "kda/naive.py:naive_recurrent_kda", q="K", k="K unit", v="V", g="K decay", beta="share")
def kda(f, q, k, v, g, beta):
    o, S = f(q, k, v, g, beta, output_final_state=True)
    return {"o": o, "S": S}


@row("momentum_delta_rule", "momentum_delta_rule/naive.py:recurrent_momentum_delta_rule_ref",
     q="K", k="K unit", v="V", mu="share", eta="share", a="share")
def momentum_delta_rule(f, q, k, v, mu, eta, a):
    # There M has the other sign and S takes it away.
    o, (S, M) = f(q, k, v, a.log(), mu.log(), k, torch.ones_like(eta), eta, scale=1.0,
                  output_final_state=True)
    return {"o": o, "S": S, "M": -M}


@row("gsa", "gsa/naive.py:naive_recurrent_gsa", q="K", k="K", v="V", g="M decay")
def gsa(f, q, k, v, g):
    o, (P, R) = f(q, k, v, 1 - g.exp(), g, output_final_state=True)
    return {"o": o, "P": P, "R": R}


@row("abc", "abc/naive.py:naive_recurrent_abc", q="K", k="K", v="V", s="M")
def abc(f, q, k, v, s):
    o, (P, R) = f(*heads_first(q, k, v, s), output_final_state=True)
    return {"o": o.transpose(1, 2), "P": P, "R": R}


@row("based", "based/naive.py:naive_parallel_based", q="D", k="D", v="V")
def based(f, q, k, v):
    return {"o": f(*heads_first(q, k, v)).transpose(1, 2)}


@row("rebased", "rebased/naive.py:naive_parallel_rebased", q="D", k="D", v="V",
     q_gamma="param D scale", q_beta="param D", k_gamma="param D scale", k_beta="param D")
def rebased(f, q, k, v, q_gamma, q_beta, k_gamma, k_beta):
    q = q_gamma * F.layer_norm(q, q.shape[-1:], eps=1e-6) + q_beta
    k = k_gamma * F.layer_norm(k, k.shape[-1:], eps=1e-6) + k_beta
    return {"o": f(*heads_first(q, k, v)).transpose(1, 2)}


# The comparison.

def load(reference):
    """The function `FILE:NAME` of fla, in f64: plain torch, so nothing of fla itself is imported."""
    file, name = reference.split(":")
    path = pathlib.Path(importlib.metadata.distribution("fla-core").locate_file("fla/ops")) / file
    text = path.read_text().replace(".float()", ".double()")
    text = re.sub(r"torch\.(float32|float)\b", "torch.float64", text)
    module = types.ModuleType(file)
    exec(compile(text, path, "exec"), module.__dict__)
    return getattr(module, name)


def run(sluice, program, arrays, folder):
    given, got = folder / "in.npz", folder / "out.npz"
    np.savez(given, **arrays)
    command = [sluice, "run", program, "--input", given, "--output", got, "--precision", "f64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return dict(np.load(got))


def relative_rms(got, want):
    return float(np.sqrt(np.mean((got - want) ** 2) / max(np.mean(want**2), 1e-300)))


def compare(sluice, program, reference, inputs, how):
    """Relative rms error of each result that the reference has."""
    # One sequence of random numbers a program, whatever else is in the table.
    rng = np.random.default_rng(list(program.encode()))
    arrays = {name: draw(rng, description) for name, description in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        got = run(sluice, program, arrays, pathlib.Path(folder))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    given = {n: t if "param" in inputs[n] else t[None] for n, t in tensors.items()}
    results = how(load(reference), **given)
    errors = {}
    for name, want in results.items():
        # Tokens are the first axis of an output here, sequences that of a state: one either way.
        want = want.numpy() if got[name].shape[0] == 1 != TOKENS else want[0].numpy()
        if got[name].shape != want.shape:
            raise RuntimeError(f"{name} is {got[name].shape}, the reference has {want.shape}")
        errors[name] = relative_rms(got[name], want)
    return errors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sluice", default="target/debug/sluice")
    parser.add_argument("--only", default="", help="names of programs, separated by commas")
    parser.add_argument("--json", help="where to write the figures")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    listed = json.loads(subprocess.check_output([options.sluice, "list", "--json"]))
    known = {entry["name"] for entry in listed}
    only = set(filter(None, options.only.split(",")))
    report, absent = [], []
    for program, reference, bound, inputs, how in ROWS:
        if program not in known:
            absent.append(program)
        elif not only or program in only:
            try:
                errors = compare(options.sluice, program, reference, inputs, how)
                passed = all(error <= bound for error in errors.values())
                result = {"relative_rms": errors, "bound": bound, "passed": passed}
            except RuntimeError as error:
                result = {"error": str(error).strip(), "passed": False}
            report.append({"program": program, "reference": reference, **result})
            show(report[-1])
    if absent:
        print("not in the library: " + ", ".join(absent))
    if options.json:
        write(options.json, options.sluice, report)
    failed = sum(not entry["passed"] for entry in report)
    print(f"{len(report) - failed} of {len(report)} programs agree with their references")
    sys.exit(1 if failed or not report else 0)


def show(entry):
    if "error" in entry:
        print(f"{entry['program']:32} FAILED\n{entry['error']}")
        return
    figures = ", ".join(f"{name} {error:.1e}" for name, error in entry["relative_rms"].items())
    print(f"{entry['program']:32} {'ok' if entry['passed'] else 'DIFFERS'}  {figures}")


def write(path, sluice, report):
    version = subprocess.check_output([sluice, "--version"], text=True).strip()
    packages = ["torch", "fla-core", "numpy"]
    versions = {package: importlib.metadata.version(package) for package in packages}
    shape = {"tokens": TOKENS, "heads": HEADS, "sizes": SIZES}
    whole = {"versions": {"sluice": version, "python": platform.python_version(), **versions},
             "shape": shape, "programs": report}
    pathlib.Path(path).write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Times of RVE solves: ours, and muSpectre (PyPI) beside it in the same run.

    python scripts/benchmarks/rve.py [--grids 32 64] [--peer /path/to/python-with-muSpectre]

One load E11 on the cubic-array sphere, contrast 10 and 1000, relative residual 1e-6. Written to
scripts/benchmarks/results/rve.json: best wall seconds of repeated calls after compilation, process (CPU) seconds,
iterations, voxel-iterations per second. muSpectre solves its own discretisation (Fourier projection, its fastest
here; odd grids only, so one voxel more per axis), so its C11 differs a little; its cell set-up is left out of its time.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "rve.json"
PEER = """
import json, sys, time
import numpy as np
import muSpectre as msp
n, contrast = int(sys.argv[1]), float(sys.argv[2])
c = (np.arange(n) + 0.5) / n - 0.5
inside = c[:, None, None]**2 + c[None, :, None]**2 + c[None, None, :]**2 <= 0.365**2
best, out = 1e9, {}
for _ in range(3):
    cell = msp.Cell([n] * 3, [1.0] * 3, msp.Formulation.small_strain)
    materials = [msp.material.MaterialLinearElastic1_3d.make(cell, name, E, 0.3)
                 for name, E in (("matrix", 1.0), ("sphere", contrast))]
    for pixel, voxel in enumerate(inside.flatten(order="F")):
        materials[int(voxel)].add_pixel(pixel)
    cell.initialise()
    strain = np.zeros((3, 3)); strain[0, 0] = 1.0
    solver = msp.solvers.KrylovSolverCG(cell, 1e-6, 1000, msp.Verbosity.Silent)
    wall, cpu = time.perf_counter(), time.process_time()
    result = msp.solvers.newton_cg(cell, strain, solver, newton_tol=1e-5, equil_tol=0.0, verbose=msp.Verbosity.Silent)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if wall < best:
        C11 = float(np.asarray(result.stress).reshape((3, 3, -1), order="F").mean(axis=-1)[0, 0])
        best, out = wall, {"wall_s": wall, "cpu_s": cpu, "iterations": int(solver.counter), "C11": C11}
print(json.dumps(out))
"""


def best_of(call, repeats=5):
    """(answer, first call, best wall, best CPU) in seconds."""
    import jax

    started = time.perf_counter()
    answer = jax.block_until_ready(call())
    first, wall, cpu = time.perf_counter() - started, float("inf"), float("inf")
    for _ in range(repeats):
        t, p = time.perf_counter(), time.process_time()
        answer = jax.block_until_ready(call())
        wall, cpu = min(wall, time.perf_counter() - t), min(cpu, time.process_time() - p)
    return answer, first, wall, cpu


def ours(n: int, contrast: float) -> list[dict]:
    """Rows of our solves: isotropic and general kernel, one load; six loads with and without the gradient."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from hea_jax.continuum.homogenise import effective_stiffness, homogenize
    from hea_jax.continuum.laws import Hooke, IsotropicHooke
    from hea_jax.continuum.rve import rve_of
    from hea_jax.core import CG
    from hea_jax.core.tensors import bulk_shear_from_young
    from hea_jax.structures.composites import cubic_sphere

    rve, linear = rve_of(cubic_sphere((n,) * 3)), CG(rtol=1e-6, probe=0)
    iso = IsotropicHooke(*bulk_shear_from_young(jnp.array([1.0, contrast]), 0.3))
    rows = []
    for kernel, law in (("isotropic", iso), ("anisotropic", Hooke(iso.stiffness_matrix()))):
        def six(law, rve=rve):
            return effective_stiffness(rve, law, linear=linear)
        gradient = eqx.filter_jit(eqx.filter_grad(lambda law: six(law).value[0, 0]))
        calls = {"one load": lambda law=law: homogenize(rve, law, jnp.eye(6)[0], linear=linear),
                 "six loads": lambda law=law: six(law),
                 "gradient of C11 (six loads)": lambda law=law: gradient(law)}  # noqa: B023
        for what, call in calls.items():
            answer, first, wall, cpu = best_of(call)
            row = {"code": "hea_jax", "kernel": kernel, "what": what, "grid": n, "contrast": contrast,
                   "first_call_s": first, "wall_s": wall, "cpu_s": cpu}
            if what != "gradient of C11 (six loads)":
                count = int(jnp.sum(answer.stats["linear_iterations"]))
                row |= {"iterations": count, "Mvoxel_iterations_per_s": count * n**3 / wall / 1e6,
                        "Mvoxel_iterations_per_cpu_s": count * n**3 / cpu / 1e6}
            rows.append(row)
    jax.clear_caches()
    return rows


def peer(python: str, n: int, contrast: float) -> list[dict]:
    """The row of muSpectre, or why there is none."""
    n += 1 - n % 2
    base = {"code": "muSpectre", "grid": n, "contrast": contrast, "what": "one load"}
    done = subprocess.run([python, "-c", PEER, str(n), str(contrast)], capture_output=True, text=True, check=False)
    if done.returncode:
        return [base | {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"}]
    row = base | json.loads(done.stdout.strip().splitlines()[-1])
    return [row | {"Mvoxel_iterations_per_s": row["iterations"] * n**3 / row["wall_s"] / 1e6}]


def _write(rows: list[dict]) -> None:
    import jax

    head = {"jax": jax.__version__, "device": jax.devices()[0].device_kind, "cpus": os.cpu_count(),
            "load_average": os.getloadavg()[0], "machine": platform.processor() or platform.machine()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"environment": head, "rows": rows}, indent=1) + "\n")
    for row in rows:
        if row["contrast"] == rows[-1]["contrast"] and abs(row["grid"] - rows[-1]["grid"]) <= 1:
            print(json.dumps(row), flush=True)


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grids", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--peer", default=None, help="a Python that has muSpectre (`pip install muSpectre`)")
    options = parser.parse_args()
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    rows = []
    for n in options.grids:
        for contrast in (10.0, 1000.0):
            rows += ours(n, contrast)
            rows += peer(options.peer, n, contrast) if options.peer else []
            # After every case: a run that is cut short keeps what it has.
            _write(rows)


if __name__ == "__main__":
    main()

"""Time per atom and step of molecular dynamics: ours, LAMMPS and jax-md, side by side on the same cores.

    python scripts/benchmarks/potentials.py [--quick] [--body-ordered FILE] [--snap COEFF PARAM] [--cores 1 2]

A bcc alloy at about 600 K, NVE with 2 fs, neighbour tables rebuilt where needed, steady state: set-up, compilation and
the first steps are timed apart. Codes take turns and the turns are repeated; given are medians with the lowest and
highest turn. `wall` is what a user waits for and means something on an idle machine only; `cpu` is processor time of
all threads, which other programs disturb less. LAMMPS runs the very tables that ours exports (`-sf opt` on one core;
on two, MPI and OpenMP threads). jax-md runs EAMs for one element with the same cut-off and a dense list: two simple
functions (a lower bound for any EAM), and its splines of our table for one element.
Written to scripts/benchmarks/results/potentials.json after every size.
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "potentials.json"
SHIPPED = Path(__file__).parents[2] / "hea_jax" / "data" / "nbmotaw_body_ordered.json"
SHAPES = {256: (4, 4, 8), 2048: (8, 8, 16), 8192: (16, 16, 16), 32000: (20, 20, 40)}
LATTICE_A, SKIN_A, DT_FS, START_K = 3.24, 1.0, 2.0, 1200.0
COST_US = {"SNAP": 400.0, "BodyOrdered": 14.0, "jax-md EAM": 10.0, "lammps snap": 60.0}
"""Guesses of CPU time per atom and step, for the number of steps; 1.5 where none is given."""
FEWEST = 300
"""Steps of a turn of our EAMs, at least."""
LARGEST = {"SNAP": 256}
"""No measurements beyond: they would take longer than all others together."""
PROFILED = dict.fromkeys(("LearnableEAM", "TabulatedEAM"), ("pair vectors and distances", "first pass: densities"))
PROFILED |= {"BodyOrdered": ("pairs within the cut-off", "the same, and packing", "kernel")}
"""Models whose parts are timed, and the parts."""


def crystal(atoms: int, kinds: int):
    """(positions, cell, species) of a random bcc alloy (Å)."""
    import numpy as np

    shape = SHAPES[atoms]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    x = np.concatenate([grid, grid + 0.5], axis=1).reshape(-1, 3) * LATTICE_A
    return x, np.diag(shape) * LATTICE_A, np.random.default_rng(0).integers(0, kinds, len(x))


def steps_for(model: str, atoms: int, budget_s: float) -> int:
    """Steps of one turn, a multiple of 10; where ten of LAMMPS' SNAP take longer than the budget, three or more.

    Never fewer than ``FEWEST`` of our EAMs: in chunks shorter than a vibration the driver cannot tell a crystal from a
    melt and builds tables at every visit of the host, which no user's run does.
    """
    fit = int(budget_s / (COST_US.get(model, 1.5) * 1e-6 * atoms))
    if model == "lammps snap" and fit < 10:
        return max(3, fit)
    return max(FEWEST if model.endswith("EAM") and not model.startswith("jax-md") else 10, 10 * min(80, fit // 10))


# ---- worker: ours and jax-md, in a process pinned to its cores -----------------------------------------------------


def worker() -> None:
    """Serve requests, one JSON object per line: {model, precision, atoms, steps, files} → {wall, cpu, …}."""
    import jax

    jax.config.update("jax_enable_x64", True)
    runs = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            key = request["model"], request["precision"], request["atoms"]
            if key not in runs:
                runs = {key: value for key, value in runs.items() if key[2] == request["atoms"]}
                started = time.perf_counter()
                runs[key] = (jax_md_run if request["model"].startswith("jax-md") else our_run)(request)
                runs[key]()
                first = time.perf_counter() - started
            else:
                first = None
            answer = {"first_s": first, **(profile(request) if request.get("profile") else runs[key]())}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(answer), flush=True)


def potential_of(request):
    """The potential (eV, Å) in the precision asked for."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from hea_jax.atomistic.potentials import load_eam, load_snap
    from hea_jax.atomistic.potentials.body_ordered import load_body_ordered
    from hea_jax.atomistic.potentials.shipped import shipped_potential

    files = request["files"]
    potential = {"LearnableEAM": shipped_potential, "TabulatedEAM": lambda: load_eam(files["eam"]),
                 "BodyOrdered": lambda: load_body_ordered(files["body_ordered"]),
                 "SNAP": lambda: load_snap(*files["snap"])}[request["model"]]()
    single = lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x
    return jax.tree.map(single, potential) if request["precision"] == "float32" else potential


def our_atoms(request, elements):
    """``Atoms`` in the precision asked for."""
    import jax.numpy as jnp

    from hea_jax.records import Atoms

    x, cell, species = crystal(request["atoms"], len(elements))
    return Atoms(jnp.asarray(x, request["precision"]), jnp.asarray(cell, request["precision"]),
                 jnp.asarray(species, jnp.int32), elements)


def our_run(request):
    """A callable that goes on with a trajectory and times its last chunks."""
    import jax

    from hea_jax.atomistic.ensembles import NVE, initial_state, run_dynamics
    from hea_jax.atomistic.neighbours import neighbour_table

    potential = potential_of(request)
    atoms = our_atoms(request, potential.elements)
    pairs = neighbour_table(atoms, potential.cutoff, skin=SKIN_A)
    state = initial_state(potential, atoms, pairs, jax.random.key(0), temperature_K=START_K)
    chunk = max(5, request["steps"] // 2)
    kept = [state]

    def turn(tries=4):
        marks = []

        def mark(progress, _):
            jax.block_until_ready(progress.state.forces)
            marks.append((time.perf_counter(), time.process_time()))

        solution = run_dynamics(potential, NVE(), kept[0], dt_fs=DT_FS, steps=3 * chunk, every=chunk, chunk=chunk,
                                skin_A=SKIN_A, on_chunk=mark)
        before, kept[0] = kept[0], solution.unwrap().progress
        shape = lambda progress: (getattr(progress, "skin_A", None), getattr(progress, "capacity", None))
        if tries and (shape(before) != shape(kept[0]) or solution.stats["reruns"]):
            # A table of another width or skin was compiled on the way: no steady state yet.
            return turn(tries - 1)
        scale = 1e6 / (2 * chunk * request["atoms"])
        return {"wall": (marks[-1][0] - marks[0][0]) * scale, "cpu": (marks[-1][1] - marks[0][1]) * scale,
                "steps": 2 * chunk, "capacity": solution.stats["capacity"], "rebuilds": solution.stats["rebuilds"] - 1}

    return turn


def jax_md_run(request):
    """jax-md: its EAM with a dense list that is updated every step (remade where atoms moved by half the skin)."""
    import jax
    import jax.numpy as jnp
    from jax_md import energy, partition, quantity, simulate, space

    x, cell, _ = crystal(request["atoms"], 1)
    box = jnp.asarray(cell.diagonal(), request["precision"])
    displacement, shift = space.periodic(box)
    if request["model"] == "jax-md EAM, table":
        text = Path(request["files"]["element"]).read_text().strip()
        functions = energy.load_lammps_eam_parameters(io.StringIO(text))
    else:
        cut = lambda r: jnp.where(r < 5.5, (1.0 - r / 5.5) ** 4, 0.0)
        functions = (lambda r: 4.0 * cut(r) * jnp.exp(-(r - 2.8)), lambda rho: -3.0 * jnp.sqrt(rho + 0.05),
                     lambda r: 20.0 * cut(r) * jnp.exp(-3.0 * (r - 2.8)), 5.5)
    # Boxes may have three edges, whatever the annotation says.
    edges: Any = box
    neighbor_fn, energy_fn = energy.eam_neighbor_list(displacement, edges, *functions, dr_threshold=SKIN_A,
                                                      fractional_coordinates=False, format=partition.Dense)
    init, apply = simulate.nve(quantity.force(energy_fn), shift, DT_FS / 10.18)
    R = jnp.asarray(x, request["precision"])
    neighbours = neighbor_fn.allocate(R)
    kT = START_K * 8.617333e-5
    state = init(jax.random.key(0), R, kT, mass=jnp.asarray(140.0, R.dtype), neighbor=neighbours)

    @jax.jit
    def advance(state, neighbours):
        def step(_, carry):
            state, neighbours = carry
            neighbours = neighbours.update(state.position)
            return apply(state, neighbor=neighbours), neighbours
        return jax.lax.fori_loop(0, request["steps"], step, (state, neighbours))

    kept = [(state, neighbours)]

    def turn():
        wall, cpu = time.perf_counter(), time.process_time()
        kept[0] = jax.block_until_ready(advance(*kept[0]))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if bool(kept[0][1].did_buffer_overflow):
            raise RuntimeError("its neighbour list overflowed")
        scale = 1e6 / (request["steps"] * request["atoms"])
        return {"wall": wall * scale, "cpu": cpu * scale, "steps": request["steps"],
                "capacity": int(kept[0][1].idx.shape[1])}

    return turn


def profile(request):
    """CPU time per atom (µs) of the parts of one evaluation, each compiled alone."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from hea_jax.atomistic.force_field import force_field
    from hea_jax.atomistic.neighbours import neighbour_table

    potential = potential_of(request)
    atoms = our_atoms(request, potential.elements)
    started = time.process_time()
    pairs = neighbour_table(atoms, potential.cutoff, skin=SKIN_A)
    out = {"table built on the host (per rebuild)": 1e6 * (time.process_time() - started) / request["atoms"],
           "table": {"width": int(pairs.index.shape[1]), "pairs in it": float(pairs.mask.sum(1).mean())}}
    field = eqx.filter_jit(force_field)(potential, atoms, pairs)
    for what in (*PROFILED[request["model"]], "forces", "forces, energy and virial"):
        @eqx.filter_jit
        def repeated(field, x, what=what):
            move = lambda _, y: y + 1e-12 * sum(map(jnp.sum, jax.tree.leaves(part_of(field, y, atoms.cell, what))))
            return jax.lax.fori_loop(0, 10, move, x)
        times = []
        for _ in range(6):
            started = time.process_time()
            jax.block_until_ready(repeated(field, atoms.positions))
            times.append(time.process_time() - started)
        out[what] = 1e5 * min(times) / request["atoms"]
    return out


def part_of(field, x, cell, what):
    """One part of an evaluation; those of the body-ordered potential without its core, at the narrowest width."""
    import jax
    import jax.numpy as jnp

    from hea_jax.atomistic.force_field_eam import _lengths

    if what.startswith("forces"):
        now = field.evaluate(x, cell)
        return now.forces if what == "forces" else now
    if hasattr(field, "table"):
        columns = tuple(x[:, axis] for axis in range(3))
        read = field.density if what.startswith("first") else lambda rows, r: jnp.sum(r, axis=-1)
        return field.table.visit(
            lambda rows, *own: read(rows, _lengths(field._vectors(rows, columns, own, cell))), *columns)
    field = getattr(field, "parts", [field])[0]
    width = field.widths[0]
    if what == "kernel":
        def kernel(block):
            element, neighbour, kind = block
            # Any distances will do: its time does not depend on them.
            r = 1.5 + 0.02 * (neighbour[:, :width] % 97).astype(x.dtype)
            return field.kernel.bonds(element, tuple(r + x[0, axis] for axis in range(3)), kind[:, :width])
        return jax.lax.map(kernel, (field.blocks.element, field.neighbour, field.kind))
    order = field._order(x, cell)
    if what.startswith("pairs"):
        return order
    return jax.lax.map(lambda rows: field._packed(x, cell, rows, width=width), field._rows(order))


class Worker:
    """A pinned worker process."""

    def __init__(self, cores: list[int]):
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
        command = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, __file__, "--worker"]
        self.process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                             env=environment)

    def ask(self, **request) -> dict:
        """The answer to one request."""
        line = ""
        if self.process.poll() is None:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        return json.loads(line) if line else {"failed": f"the worker process ended ({self.process.poll()})"}

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


# ---- LAMMPS --------------------------------------------------------------------------------------------------------


def lammps(request: dict, cores: list[int]) -> dict:
    """One run of LAMMPS pinned to ``cores``; wall and CPU time of its loop, neighbour lists included."""
    from hea_jax.atomistic.lammps import executable

    x, cell, species = crystal(request["atoms"], len(request["elements"]))
    lines = ["x", "", f"{len(x)} atoms", f"{len(request['elements'])} atom types", ""]
    lines += [f"0.0 {cell[m, m]:.12g} {axis}lo {axis}hi" for m, axis in enumerate("xyz")] + ["", "Atoms # atomic", ""]
    lines += [f"{m + 1} {species[m] + 1} {r[0]:.12g} {r[1]:.12g} {r[2]:.12g}" for m, r in enumerate(x)]
    script = f"""units metal
atom_style atomic
read_data data
mass * 140.0
{request["pair_commands"]}
neighbor {SKIN_A} bin
neigh_modify delay 0 every 1 check yes
velocity all create {START_K} 12345 dist gaussian
fix move all nve
timestep {DT_FS / 1000}
thermo 1000000
run {max(1, request["steps"] // 4)}
run {request["steps"]} pre no
"""
    environment = os.environ | {"OMP_NUM_THREADS": str(request.get("threads", 1))}
    environment["LD_LIBRARY_PATH"] = f"{Path(sys.prefix) / 'lib'}:{environment.get('LD_LIBRARY_PATH', '')}"
    ranks = request.get("ranks", 1)
    launcher = [str(executable().parent / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data").write_text("\n".join(lines) + "\n")
        (Path(folder) / "in").write_text(script)
        done = subprocess.run(["taskset", "-c", ",".join(map(str, cores)), *launcher, str(executable()), "-in", "in",
                               "-log", "none", "-nocite", *request["options"]], cwd=folder, env=environment,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    loops = [line.split() for line in done.stdout.splitlines() if line.startswith("Loop time")]
    shares = [float(line.split("%")[0]) for line in done.stdout.splitlines() if "% CPU use" in line]
    if done.returncode or len(loops) < 2:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        return {"failed": (errors or [done.stderr.strip()[-200:] or "no timing printed"])[0]}
    wall = float(loops[1][3]) * 1e6 / (request["steps"] * request["atoms"])
    # LAMMPS gives the share per MPI rank.
    return {"wall": wall, "cpu": wall * shares[1] / 100.0 * ranks, "steps": request["steps"],
            "pair_style": request["pair_commands"].splitlines()[0]}


def lammps_cases(files: dict, cores: int) -> list[dict]:
    """What LAMMPS runs on so many cores."""
    eam = f'pair_style eam/alloy\npair_coeff * * "{files["eam"]}"', files["eam_elements"]
    snap = (f'pair_style snap\npair_coeff * * "{files["snap"][0]}" "{files["snap"][1]}"', files["snap_elements"])
    if cores == 1:
        ways = [("lammps eam/alloy", eam, [], 1, 1), ("lammps eam/alloy opt", eam, ["-sf", "opt"], 1, 1),
                ("lammps snap", snap, [], 1, 1)]
    else:
        threads = ["-sf", "omp", "-pk", "omp", str(cores)]
        ways = [("lammps eam/alloy omp", eam, threads, 1, cores),
                ("lammps eam/alloy opt mpi", eam, ["-sf", "opt"], cores, 1), ("lammps snap mpi", snap, [], cores, 1)]
    return [{"model": name, "pair_commands": f"{pair[0]} {' '.join(pair[1])}", "elements": pair[1], "options": options,
             "ranks": ranks, "threads": threads} for name, pair, options, ranks, threads in ways]


# ---- the run -------------------------------------------------------------------------------------------------------


def measure(atoms: int, cores: int, files: dict, options) -> list[dict]:
    """Rows of all codes for one size on so many cores: turns interleaved, the first (compilation) dropped."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    serve = Worker(chosen)
    ours = [(model, precision) for model in (*PROFILED, "SNAP", "jax-md EAM", "jax-md EAM, table")
            for precision in ("float64", "float32")]
    asked = lambda model: not options.models or model.startswith(tuple(options.models))
    largest = lambda model: next((size for name, size in LARGEST.items() if model.startswith(name)), 10**9)
    cases = [{"model": m, "precision": p, "files": files} for m, p in ours] + lammps_cases(files, cores)
    cases = [case for case in cases if atoms <= largest(case["model"]) and asked(case["model"])]
    turns: list[list[dict]] = [[] for _ in cases]
    for turn in range(options.repeats + 1):
        for case, done in zip(cases, turns, strict=True):
            if done and "failed" in done[-1]:
                continue
            request = case | {"atoms": atoms, "steps": steps_for(case["model"].removesuffix(" mpi"), atoms,
                                                                options.budget)}
            if "pair_commands" in case:
                done.append(lammps(request, chosen) if turn else {"first_s": None})
            else:
                done.append(serve.ask(**request))
    rows = [summary(case, atoms, cores, done) for case, done in zip(cases, turns, strict=True)]
    if atoms == options.profile_atoms:
        rows += [{"profile": f"{model} {precision}, {atoms} atoms, {cores} cores, CPU µs per atom",
                  **serve.ask(model=model, precision=precision, atoms=atoms, steps=10, files=files, profile=True)}
                 for model in filter(asked, PROFILED) for precision in ("float64", "float32")]
    serve.close()
    return rows


def summary(case: dict, atoms: int, cores: int, turns: list[dict]) -> dict:
    """Median and range of the turns."""
    row = {"model": case["model"], "precision": case.get("precision", "float64"), "atoms": atoms, "cores": cores}
    failed = [turn["failed"] for turn in turns if "failed" in turn]
    good = [turn for turn in turns[1:] if "wall" in turn]
    if failed or not good:
        return row | {"failed": (failed or ["no turn"])[0]}
    for clock in ("wall", "cpu"):
        values = [turn[clock] for turn in good]
        row |= {f"{clock}_us_per_atom_step": statistics.median(values), f"{clock}_range": [min(values), max(values)]}
    facts = {key: good[-1][key] for key in ("steps", "capacity", "rebuilds", "pair_style") if key in good[-1]}
    return row | facts | {"turns": len(good), "first_call_s": turns[0].get("first_s")}


def goals(rows: list[dict]) -> list[dict]:
    """The ratios that matter, in CPU time, double precision, per size and cores."""
    at = {(r["model"], r["atoms"], r["cores"]): r["cpu_us_per_atom_step"] for r in rows
          if r.get("precision") == "float64" and "cpu_us_per_atom_step" in r}
    out = []
    for atoms, cores in sorted({key[1:] for key in at}):
        value = lambda name, atoms=atoms, cores=cores: at.get((name, atoms, cores))
        least = lambda text, atoms=atoms, cores=cores: min(
            (v for (name, a, c), v in at.items() if name.startswith(text) and (a, c) == (atoms, cores)), default=None)
        ratio = lambda a, b: a / b if a and b else None
        out.append({"atoms": atoms, "cores": cores,
                    "LearnableEAM / LAMMPS eam": ratio(value("LearnableEAM"), least("lammps eam")),
                    "TabulatedEAM / LAMMPS eam": ratio(value("TabulatedEAM"), least("lammps eam")),
                    "jax-md / LearnableEAM": ratio(value("jax-md EAM"), value("LearnableEAM")),
                    "jax-md, table / TabulatedEAM": ratio(value("jax-md EAM, table"), value("TabulatedEAM")),
                    "BodyOrdered / LAMMPS snap": ratio(value("BodyOrdered"), least("lammps snap"))})
    return out


def input_files(options, folder: Path) -> dict:
    """The tables that ours exports, and the SNAP files."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from hea_jax.atomistic.lammps import executable
    from hea_jax.atomistic.potentials import load_snap, to_setfl, write_setfl
    from hea_jax.atomistic.potentials.shipped import shipped_potential

    potential = shipped_potential()
    content = to_setfl(potential, path=folder / "exported.eam.alloy", provenance="setfl, benchmark")
    write_setfl(folder / "element.eam.alloy", content.chosen(potential.elements[:1]))
    wheel = next(executable().parents[1].glob("lib/python*/site-packages/lammps/share/lammps/potentials"))
    snap = options.snap or [str(wheel / f"Ta06A.snap{end}") for end in ("coeff", "param")]
    return {"eam": str(folder / "exported.eam.alloy"), "element": str(folder / "element.eam.alloy"),
            "eam_elements": potential.elements, "snap": snap,
            "snap_elements": load_snap(*snap).elements, "body_ordered": options.body_ordered}


def existing(path: str) -> str:
    """The absolute path of a file, since LAMMPS runs in another folder; refused if there is none."""
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path}: check the path")
    return str(Path(path).resolve())


def environment(files: dict) -> dict:
    """Machine and versions."""
    from importlib.metadata import version

    from hea_jax.atomistic.lammps import lammps_available

    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return {"machine": (names or [platform.machine()])[0], "cpus": os.cpu_count(), "load_average": os.getloadavg(),
            "lammps": lammps_available()[1], "snap": Path(files["snap"][0]).name, "skin_A": SKIN_A, "dt_fs": DT_FS,
            "body_ordered": Path(files["body_ordered"]).name,
            **{name: version(name) for name in ("hea_jax", "jax", "jaxlib", "jax-md", "numpy")}}


def report(rows: list[dict]) -> None:
    """A plain table."""
    for row in rows:
        if "profile" in row:
            print(json.dumps(row, ensure_ascii=False))
        elif "failed" in row:
            print(f"{row['model']:<26}{row['precision']:<9}{row['atoms']:>7}{row['cores']:>3}  {row['failed']}")
        else:
            wall, cpu, (low, high) = row["wall_us_per_atom_step"], row["cpu_us_per_atom_step"], row["cpu_range"]
            print(f"{row['model']:<26}{row['precision']:<9}{row['atoms']:>7}{row['cores']:>3}  wall {wall:9.3f}  "
                  f"cpu {cpu:9.3f}  [{low:.3f}, {high:.3f}]")


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="256 and 2048 atoms, two short turns")
    parser.add_argument("--sizes", type=int, nargs="+", choices=SHAPES, default=None)
    parser.add_argument("--models", nargs="+", default=None, help="beginnings of names, e.g. Learnable 'lammps eam'")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=None, help="turns (default 5, quick 2)")
    parser.add_argument("--budget", type=float, default=None, help="seconds of a turn (default 3, quick 0.5)")
    parser.add_argument("--body-ordered", type=existing, default=str(SHIPPED), help="default: the shipped potential")
    parser.add_argument("--snap", type=existing, nargs=2, metavar=("COEFF", "PARAM"), help="default: Ta06A of LAMMPS")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker()
        return
    options.sizes = options.sizes or ([256, 2048] if options.quick else list(SHAPES))
    options.repeats = options.repeats or (2 if options.quick else 5)
    options.budget = options.budget or (0.5 if options.quick else 3.0)
    options.profile_atoms = max(size for size in options.sizes if size <= 8192 or size == min(options.sizes))
    with tempfile.TemporaryDirectory() as folder:
        files = input_files(options, Path(folder))
        head, rows = environment(files), []
        for atoms in options.sizes:
            for cores in options.cores:
                new = measure(atoms, cores, files, options)
                rows += new
                report(new)
                sys.stdout.flush()
                # After every case: a run that is cut short keeps what it has.
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(json.dumps({"environment": head, "goals": goals(rows), "rows": rows},
                                                     indent=1, ensure_ascii=False) + "\n")
    for line in goals(rows):
        print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()}))


if __name__ == "__main__":
    main()

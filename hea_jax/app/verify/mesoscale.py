"""Reference cases of the mesoscale: dispersion, equilibrium, PFHub 1a, interfaces, shrinking grains."""

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.verify.rows import Case, Check
from hea_jax.core.units import BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA
from hea_jax.mesoscale.benchmarks import bm1, bm1_initial, bm1a_reference
from hea_jax.mesoscale.bulk import Binary, RegularSolution
from hea_jax.mesoscale.driver import run_evolution
from hea_jax.mesoscale.equations import multicomponent
from hea_jax.mesoscale.equilibrium import binodal, spinodal
from hea_jax.mesoscale.evolve import evolve
from hea_jax.mesoscale.grain_growth import grain_growth, order_parameters, relaxation_time_s
from hea_jax.mesoscale.grid import grid_of
from hea_jax.mesoscale.mobility import Darken
from hea_jax.mesoscale.steppers import ETDRK4, IMEXRK2

TEMPERATURE_K, VOLUME_A3 = 1000.0, 16.0
THERMAL_EV = BOLTZMANN_EV_PER_K * TEMPERATURE_K


def _regular(interactions_eV) -> RegularSolution:
    return RegularSolution(jnp.asarray(interactions_eV), jnp.asarray(TEMPERATURE_K), jnp.asarray(VOLUME_A3))


def _dispersion() -> list[Check]:
    # A domain of ten fastest waves: mode 10 grows fastest, mode √2·10 is neutral.
    grid = grid_of((128,), 2 * np.pi * 10 / 0.4472135955 / 128)
    x, = grid.coordinates()
    edge = 128 * grid.voxel_nm[0]
    modes = (5, 10, 12, 16)
    start = 0.5 + 1e-6 * jnp.sum(jnp.cos(2 * jnp.pi * jnp.array(modes)[:, None] * x / edge), axis=0)
    end = evolve(bm1(grid), ETDRK4(), start, dt_s=0.02, steps=50).unwrap()
    growth = jnp.log(jnp.abs(grid.transform(end) / grid.transform(start)))
    rows = []
    for m in modes:
        k2 = (2 * np.pi * m) ** 2 / float(edge) ** 2
        exact = -5 * k2 * (-0.8 + 2 * k2)
        rows.append(Check(f"BM1 growth rate at k = {k2**0.5:.4f}", float(growth[m]), exact, "1/s", 2e-6,
                          "ω = −Mk²(f″ + κk²) (Cahn 1961)"))
    return rows


def _ternary() -> list[Check]:
    grid, time, amplitude, m = grid_of((24,)), 0.5, 1e-7, 2
    kappa, D, c = np.array([0.5, 0.3, 0.7]), np.array([1.0, 0.3, 0.1]), np.array([0.3, 0.3, 0.4])
    W = np.array([[0, 0.05, -0.1], [0.05, 0, 0.35], [-0.1, 0.35, 0]])
    mobility = Darken(jnp.asarray(D), jnp.asarray(TEMPERATURE_K), jnp.asarray(VOLUME_A3))
    equation = multicomponent(grid, _regular(W), jnp.asarray(kappa), mobility)
    x, = grid.coordinates()
    k = 2 * np.pi * m / 24
    starts = [jnp.asarray(c[:2])[:, None] + amplitude * jnp.cos(k * x) * e[:, None] for e in jnp.eye(2)]
    ends = [evolve(equation, IMEXRK2(), s, dt_s=time / 200, steps=200).unwrap() for s in starts]
    propagator = np.stack([grid.transform(e)[:, m].real for e in ends], axis=1) / (amplitude * 12)
    measured = np.sort(np.real(np.log(np.linalg.eigvals(propagator)))) / time
    scale = EV_PER_A3_TO_GPA / VOLUME_A3
    entropy = THERMAL_EV * (np.diag(1 / c[:2]) + 1 / c[2])
    H = scale * (entropy + W[:2, :2] - W[:2, 2:] - W[2:, :2])
    frame = np.eye(3) - c[:, None]
    L = (frame @ np.diag(D * c / (THERMAL_EV * scale)) @ frame.T)[:2, :2]
    exact = np.sort(np.linalg.eigvals(-(k**2) * L @ (H + k**2 * (np.diag(kappa[:2]) + kappa[2]))).real)
    return [Check(f"ternary, eigenvalue {i + 1} of the growth matrix", float(a), float(b), "1/s", 2e-5,
                  "−k² L (H + κk²) (de Fontaine 1972)") for i, (a, b) in enumerate(zip(measured, exact, strict=True))]


def _regular_solution() -> list[Check]:
    rows = []
    for chi, phase, limit in ((3.0, 0.0707202, 0.2113249), (2.5, 0.1447941, 0.2763932)):
        bulk = Binary(_regular([[0.0, chi * THERMAL_EV], [chi * THERMAL_EV, 0.0]]))
        rows.append(Check(f"regular solution χ = {chi}: binodal", float(binodal(bulk).unwrap()[0]), phase, "1", 6e-8,
                          "ln(c/(1−c)) + χ(1−2c) = 0"))
        rows.append(Check(f"regular solution χ = {chi}: spinodal", float(spinodal(bulk).unwrap()[0]), limit, "1", 6e-8,
                          "½ − √(¼ − 1/(2χ))"))
    return rows


def _pfhub() -> list[Check]:
    grid, reference = grid_of((200, 200)), bm1a_reference()
    sol = run_evolution(bm1(grid), IMEXRK2(), bm1_initial(grid), dt_s=0.05, t_end_s=20.0, chunk=20)
    history, source = sol.unwrap().history, "independent ETDRK4 run, data/pfhub"
    rows = []
    for t, total in zip(reference["time"][1:7], reference["total"][1:7], strict=True):
        energy = float(history.energy[np.argmin(np.abs(history.t_s - t))])
        rows.append(Check(f"PFHub 1a, F(t = {t:g})", energy, float(total), "1", 0.005 * float(total), source))
    drift = float(np.abs(history.conserved - history.conserved[0]).max())
    rise = max(0.0, float(np.diff(history.energy).max()))
    return [*rows, Check("PFHub 1a, change of the mean composition", drift, 0.0, "1", 1e-12, "conservation"),
            Check("PFHub 1a, largest rise of F from chunk to chunk", rise, 0.0, "1", 0.0, "gradient flow")]


def _flat_interface() -> list[Check]:
    grid = grid_of((96,), 0.75)
    x, = grid.coordinates()
    away = jnp.abs(x - 36.0) - 18.0
    sol = run_evolution(bm1(grid), IMEXRK2(), 0.5 + 0.2 * jnp.tanh(away / 3.5), dt_s=0.2, t_end_s=200.0, chunk=100)
    c = sol.unwrap().fields
    error = float(jnp.max(jnp.abs(c - 0.5 - 0.2 * jnp.tanh(away / 5**0.5))))
    return [Check("BM1 flat interface, energy", float(bm1(grid).energy(c)) / 2, 0.0477028, "J/m²", 1e-6,
                  "∫√(2κΔf) dc"),
            Check("BM1 flat interface, distance from .5 + .2 tanh(x/2.2361)", error, 0.0, "1", 2e-4, "closed form")]


def _grains() -> list[Check]:
    sigma, mu, width = 0.8, 5.0, 6.0
    options = {"boundary_energy_J_per_m2": sigma, "boundary_mobility_nm_per_s_GPa": mu, "width_nm": width}
    line = grid_of((64,))
    flat = grain_growth(line, **options)
    tau = float(relaxation_time_s(flat))
    fields = order_parameters(jnp.arange(64) // 32, 2, line, width_nm=width)
    end = run_evolution(flat, ETDRK4(), fields, dt_s=tau / 2, t_end_s=30 * tau, chunk=20).unwrap().fields
    source = "Moelans, Blanpain & Wollants 2008"
    rows = [Check("flat grain boundary, energy", float(flat.energy(end)) / 2, sigma, "J/m²", 2e-4, source)]
    for d, n in ((2, 64), (3, 40)):
        grid, R0, radii, times = grid_of((n,) * d), 0.36 * n, [], []
        r = jnp.sqrt(sum((x - n / 2) ** 2 for x in grid.coordinates()))
        inside = 0.5 - 0.5 * jnp.tanh((r - R0) / (width / 2))

        def watch(state, _, d=d, radii=radii, times=times):
            volume = float(jnp.sum(state.fields[0]))
            radii.append((volume / np.pi) ** 0.5 if d == 2 else (volume * 3 / (4 * np.pi)) ** (1 / 3))
            times.append(state.t_s)
        rate = -2 * (d - 1) * mu * sigma
        run_evolution(grain_growth(grid, **options), IMEXRK2(stabilisation=0.5), jnp.stack([inside, 1 - inside]),
                      dt_s=0.2 * tau, t_end_s=-0.5 * R0**2 / rate, chunk=5, on_chunk=watch).unwrap()
        slope = float(np.polyfit(times[1:], np.array(radii[1:]) ** 2, 1)[0])
        rows.append(Check(f"shrinking {'circle' if d == 2 else 'sphere'}, dR²/dt", slope, rate, "nm²/s", 0.03 * -rate,
                          "sharp interface: dR/dt = −(d−1)µσ/R"))
    return rows


def _gradient() -> list[Check]:
    grid = grid_of((16,), 2.0)
    noise = jax.random.uniform(jax.random.key(0), (16,), minval=-0.05, maxval=0.05)

    @jax.jit
    def loss(kappa):
        equation = bm1(grid)
        equation = type(equation)(type(equation.free_energy)(grid, equation.free_energy.bulk, kappa), equation.mobility)
        return jnp.sum((evolve(equation, IMEXRK2(), 0.5 + noise, dt_s=0.05, steps=200).value - 0.5) ** 2)
    slope, h = float(jax.grad(loss)(2.0)), 1e-4
    difference = float(loss(2.0 + h) - loss(2.0 - h)) / (2 * h)
    return [Check("d loss/dκ through 200 steps", slope, difference, "1/(GPa nm²)", 1e-6 * abs(difference),
                  "central differences of the whole run")]


def cases() -> list[Case]:
    """The reference cases of the mesoscale."""
    return [
        Case("mesoscale", "dispersion of BM1", _dispersion),
        Case("mesoscale", "dispersion of a ternary", _ternary),
        Case("mesoscale", "regular solution", _regular_solution),
        Case("mesoscale", "PFHub 1a to t = 20", _pfhub),
        Case("mesoscale", "flat interface", _flat_interface),
        Case("mesoscale", "grain boundaries", _grains),
        Case("mesoscale", "gradient of a run", _gradient),
    ]

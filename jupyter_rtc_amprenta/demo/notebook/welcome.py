# %% [markdown]
# # How strongly does compound A-17 inhibit β-galactosidase?
#
# A small, complete analysis: **Michaelis–Menten kinetics** of an enzyme, without and with an inhibitor, then a
# **dose–response curve**. The data are synthetic (a known truth, plus noise), so that at the end we can see how well
# the estimates found it again.
#
# This notebook is here to be changed. Edit a cell, run it, and look at it from a colleague's server at the same time.

# %% [markdown]
# ## 1. The experiment
#
# β-Galactosidase splits ONPG; the product is yellow, and its absorbance at 420 nm gives the reaction rate $v$. For a
# substrate concentration $[S]$ the Michaelis–Menten equation says
#
# $$v = \frac{V_{\max}\,[S]}{K_m + [S]}$$
#
# and a *competitive* inhibitor of concentration $[I]$ raises the apparent $K_m$ by the factor $1 + [I]/K_i$, while
# $V_{\max}$ stays as it is.

# %%
import numpy as np
import matplotlib.pyplot as plt

rng = np.random.default_rng(seed=1913)  # the year of Michaelis and Menten's paper
plt.rcParams.update({"figure.figsize": (7, 4.2), "figure.dpi": 90, "axes.grid": True, "grid.alpha": 0.3})
print("NumPy", np.__version__)

# %% [markdown]
# The truth, which in a real experiment nobody knows. Concentrations are in µmol/L, rates in µmol/(L·min).

# %%
TRUE_VMAX, TRUE_KM, TRUE_KI = 24.0, 180.0, 3.5
SUBSTRATE = np.array([20, 40, 80, 160, 320, 640, 1280], dtype=float)
INHIBITOR = np.array([0, 2, 8], dtype=float)
REPLICATES = 3


def rate(s, vmax, km, i=0.0, ki=np.inf):
    """Michaelis–Menten with a competitive inhibitor."""
    return vmax * s / (km * (1 + i / ki) + s)


# %% [markdown]
# ## 2. The data
#
# Three replicates of each well, with 4 % multiplicative noise and a little of the reader's own.

# %%
measured = {}
for i in INHIBITOR:
    truth = rate(SUBSTRATE, TRUE_VMAX, TRUE_KM, i, TRUE_KI)
    noise = 1 + 0.04 * rng.standard_normal((REPLICATES, SUBSTRATE.size))
    measured[i] = truth * noise + 0.1 * rng.standard_normal((REPLICATES, SUBSTRATE.size))

for i, values in measured.items():
    print(f"[I] = {i:3.0f} µM: {values.size} wells, mean rate {values.mean():5.2f} µM/min")

# %% [markdown]
# A small table without any library beyond NumPy: a class with `_repr_html_` is all that a notebook asks for.


# %%
class Table:
    """Rows of text and numbers, shown as HTML."""

    def __init__(self, header, rows):
        self.header, self.rows = header, rows

    def _repr_html_(self):
        head = "".join(f"<th>{name}</th>" for name in self.header)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self):
        return "\n".join("  ".join(f"{cell!s:>12}" for cell in row) for row in [self.header, *self.rows])


Table(
    ["[S] (µM)", *(f"v at [I] = {i:.0f} µM" for i in INHIBITOR)],
    [
        [
            f"{s:.0f}",
            *(f"{measured[i][:, n].mean():.2f} ± {measured[i][:, n].std(ddof=1):.2f}" for i in INHIBITOR),
        ]
        for n, s in enumerate(SUBSTRATE)
    ],
)

# %% [markdown]
# ## 3. Fitting without a black box
#
# `scipy.optimize.curve_fit` would do. Levenberg–Marquardt is short enough, though, to be read: step along the
# linearised model, and damp the step whenever it made things worse.


# %%
def fit(model, x, y, start, steps=200):
    """Least squares by Levenberg–Marquardt; returns the estimates and their standard errors."""
    p, damping = np.asarray(start, dtype=float), 1e-2
    for _ in range(steps):
        residual = y - model(x, *p)
        jacobian = np.empty((y.size, p.size))
        for k in range(p.size):
            h = 1e-6 * max(abs(p[k]), 1e-6)
            jacobian[:, k] = (model(x, *(p + h * np.eye(p.size)[k])) - model(x, *p)) / h
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), jacobian.T @ residual)
        if np.sum((y - model(x, *(p + step))) ** 2) < np.sum(residual**2):
            p, damping = p + step, damping / 3
        else:
            damping *= 4
    variance = np.sum((y - model(x, *p)) ** 2) / (y.size - p.size)
    return p, np.sqrt(np.diag(variance * np.linalg.inv(normal)))


# %% [markdown]
# First each inhibitor concentration by itself: if the inhibition is competitive, only the apparent $K_m$ moves.

# %%
separate = {}
for i in INHIBITOR:
    x, y = np.tile(SUBSTRATE, REPLICATES), measured[i].ravel()
    separate[i] = fit(rate, x, y, start=(y.max(), 100.0))
    (vmax, km), (vmax_error, km_error) = separate[i]
    print(f"[I] = {i:3.0f} µM   Vmax = {vmax:5.2f} ± {vmax_error:.2f}   Km,app = {km:6.1f} ± {km_error:.1f}")

# %% [markdown]
# $V_{\max}$ agrees within its error, $K_{m,\mathrm{app}}$ grows with $[I]$: *competitive*, as expected.

# %%
figure, axes = plt.subplots()
grid = np.linspace(0, 1350, 300)
for colour, i in zip(("tab:blue", "tab:orange", "tab:green"), INHIBITOR):
    axes.errorbar(
        SUBSTRATE,
        measured[i].mean(axis=0),
        measured[i].std(axis=0, ddof=1),
        fmt="o",
        color=colour,
        capsize=3,
        label=f"[I] = {i:.0f} µM",
    )
    axes.plot(grid, rate(grid, *separate[i][0]), color=colour)
axes.set_xlabel("[S]  (µmol/L)")
axes.set_ylabel("v  (µmol/L/min)")
axes.set_title("β-Galactosidase with compound A-17")
axes.legend()
plt.show()

# %% [markdown]
# ## 4. One fit for everything
#
# A global fit shares $V_{\max}$ and $K_m$ between the curves, and estimates $K_i$ directly.

# %%
points = np.array([(s, i) for i in INHIBITOR for _ in range(REPLICATES) for s in SUBSTRATE])
rates = np.concatenate([measured[i].ravel() for i in INHIBITOR])


def competitive(x, vmax, km, ki):
    return rate(x[:, 0], vmax, km, x[:, 1], ki)


estimates, errors = fit(competitive, points, rates, start=(20.0, 100.0, 1.0))
Table(
    ["parameter", "truth", "estimate", "standard error", "off by"],
    [
        [name, truth, f"{value:.2f}", f"{error:.2f}", f"{abs(value - truth) / error:.1f} σ"]
        for name, truth, value, error in zip(
            ("V<sub>max</sub>", "K<sub>m</sub>", "K<sub>i</sub>"),
            (TRUE_VMAX, TRUE_KM, TRUE_KI),
            estimates,
            errors,
        )
    ],
)

# %% [markdown]
# ## 5. Dose and response
#
# For screening, one number per compound is wanted: the concentration that halves the rate at a fixed $[S]$. By Cheng
# and Prusoff it depends on the assay: $\mathrm{IC}_{50} = K_i\,(1 + [S]/K_m)$.

# %%
S_ASSAY = 200.0
doses = np.logspace(-1, 2, 10)
control = rate(S_ASSAY, TRUE_VMAX, TRUE_KM)
response = rate(S_ASSAY, TRUE_VMAX, TRUE_KM, doses, TRUE_KI) / control * 100
response = response + 2.5 * rng.standard_normal(doses.size)


def hill(dose, log_ic50, slope):
    return 100 / (1 + (dose / 10**log_ic50) ** slope)


(log_ic50, slope), (log_error, slope_error) = fit(hill, doses, response, start=(0.5, 1.0))
ic50, expected = 10**log_ic50, estimates[2] * (1 + S_ASSAY / estimates[1])
print(f"IC50 from the curve          {ic50:5.2f} µM  (× or ÷ {10**log_error:.2f})")
print(f"IC50 from Ki, Cheng–Prusoff  {expected:5.2f} µM")
print(f"Hill slope                   {slope:5.2f} ± {slope_error:.2f}")

# %%
figure, axes = plt.subplots()
fine = np.logspace(-1.2, 2.2, 200)
axes.semilogx(doses, response, "o", color="tab:red", label="measured")
axes.semilogx(fine, hill(fine, log_ic50, slope), color="tab:red", label=f"Hill fit, IC₅₀ = {ic50:.1f} µM")
axes.axvline(ic50, color="grey", linestyle="--", linewidth=1)
axes.axhline(50, color="grey", linestyle="--", linewidth=1)
axes.set_xlabel("[A-17]  (µmol/L)")
axes.set_ylabel("remaining activity  (%)")
axes.legend()
plt.show()

# %% [markdown]
# ## 6. How sure are we?
#
# The standard error rests on a linearisation. A bootstrap asks the data themselves: draw wells with replacement, fit
# again, and look at the spread.

# %%
draws = np.empty(200)
for n in range(draws.size):
    chosen = rng.integers(0, rates.size, rates.size)
    draws[n] = fit(competitive, points[chosen], rates[chosen], start=estimates, steps=12)[0][2]
low, high = np.percentile(draws, [2.5, 97.5])
print(f"Ki = {estimates[2]:.2f} µM, 95 % interval {low:.2f} … {high:.2f} (bootstrap, {draws.size} draws)")

# %% [markdown]
# ## 7. In short
#
# | question | answer |
# |---|---|
# | Is A-17 an inhibitor of β-galactosidase? | yes |
# | Of which kind? | competitive: $V_{\max}$ stays, $K_{m,\mathrm{app}}$ grows |
# | How strong? | $K_i$ of 3 to 4 µM |
#
# **To do together**
#
# - [ ] Would a *mixed* inhibitor fit as well? Add a term for $V_{\max}$ to `rate`.
# - [ ] How few wells would have been enough? Set `REPLICATES = 1` and run again.
# - [ ] ΔG° of binding, from $K_i$ at 37 °C, in kJ/mol.

# %%
# 37 °C; the third item of the list above, for whoever comes first
gas_constant, temperature = 8.314e-3, 310.15
print(f"ΔG° ≈ {gas_constant * temperature * np.log(estimates[2] * 1e-6):.1f} kJ/mol")

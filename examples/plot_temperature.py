"""
What does noise do to the particles?
====================================

With Gaussian noise at each step, gradient descent on a hidden layer becomes mean-field Langevin dynamics. Its particles
spread until they balance the objective against `temperature` times their entropy. The problem over measures then has
one solution. For bounded neurons such as tanh, the dynamics reach it from any start. Which temperature should one
choose, and how many particles does a measure with a density need?
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import MeanFieldTwoLayerNet

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-2, 2, 60))
X, y = x[:, None], np.sin(2 * x) + 0.2 * rng.standard_normal(60)
alpha, temperatures = 0.03, [1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]


def trained(temperature, width=800, seed=0):
    net = MeanFieldTwoLayerNet(
        width=width, activation="tanh", alpha=alpha, temperature=temperature, max_iter=1000, random_state=seed
    )
    return net.fit(X, y)


nets = {temperature: trained(temperature) for temperature in temperatures}

# %%
# The gap is computed from the proximal Gibbs measure, which would be the distribution of the particles at the optimum.
# The gap is an estimate by sampling, and differs between starts. The figure shows five starts and their median.

widths, compared = [50, 200, 800], [1e-3, 3e-1]
gaps = {
    temperature: [[trained(temperature, width, seed).certificate_.gap for seed in range(5)] for width in widths]
    for temperature in compared
}

figure, axes = plt.subplots(2, 3, figsize=(12, 7.5), layout="constrained")
for ax, temperature in zip(axes[0], [1e-3, 3e-2, 3e-1]):
    slope, _, readout = nets[temperature].particles_.T
    ax.plot(slope, readout, ".", markersize=3, alpha=0.5)
    ax.set(xlim=(-10, 10), ylim=(-12, 12), xlabel="slope", title=f"800 particles at temperature {temperature:g}")
axes[0, 0].set_ylabel("read-out")

fit, spread, gap = axes[1]
fit.plot(x, y, ".", color="0.6")
line = np.linspace(-2, 2, 200)
for temperature, style in zip([1e-3, 3e-2, 3e-1, 1.0], ["-", "--", "-.", ":"]):
    fit.plot(line, nets[temperature].predict(line[:, None]), style, linewidth=2, label=f"{temperature:g}")
fit.set(xlabel="x", ylabel="y", title="Fit", ylim=(-2.6, None))
fit.legend(title="temperature", ncols=2, loc="lower center")
sizes = [np.sqrt(np.mean(nets[temperature].particles_ ** 2)) for temperature in temperatures]
spread.loglog(temperatures, sizes, "o-", label="particles")
spread.loglog(temperatures, np.sqrt(np.array(temperatures) / alpha), "k:", label="without data")
spread.set(xlabel="temperature", ylabel="root mean square weight", title="Spread")
spread.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
spread.set_yticks([], minor=True)
spread.legend()
for temperature, colour, marker in zip(compared, ["tab:blue", "tab:orange"], "os"):
    gap.loglog(widths, gaps[temperature], marker, color=colour, alpha=0.35)
    medians = np.median(gaps[temperature], axis=1)
    gap.loglog(widths, medians, marker + "-", color=colour, label=f"temperature {temperature:g}")
gap.set_xticks(widths, widths)
gap.set_xticks([], minor=True)
gap.set(xlabel="particles", ylabel="estimated gap", title="Estimated gap after 1000 steps")
gap.legend()
plt.show()

# %%
# At a low temperature, the particles gather in a few places. From most starts, 1000 steps do not bring them near the
# optimum, however many particles there are. At a high temperature, they spread towards the normal distribution of
# variance `temperature / alpha`, which they would follow without data. Fifty particles are too few to represent such a
# measure, and the estimated gap falls as their number grows. The fit changes little, because `alpha` makes it smooth.

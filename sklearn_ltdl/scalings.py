r"""How the output of a network of width m is scaled: :math:`f = s \sum_j b_j \sigma(a_j \cdot \varphi(x))`.

Let :math:`s = c\,m^{-p}`. A parameter step :math:`\eta / (s^2 m)` on the risk then moves the function by O(1) at every
width and every c, because the tangent kernel :math:`Df\,Df' / (s^2 m)` has a limit.
"""

from typing import NamedTuple


class Scaling(NamedTuple):
    """Output factor `scale * width ** -power`.

    Parameters
    ----------
    power : float
        1 is the mean-field scaling, 1/2 the scaling of the neural tangent kernel, and 0 the standard parametrisation.
    scale : float, default=1.0
        The factor alpha of Chizat, Oyallon and Bach (2019). A network with a large factor is lazy.
    """

    power: float
    scale: float = 1.0

    def factor(self, width: int) -> float:
        """Return s, the factor of the output."""
        return self.scale * width**-self.power

    def step(self, width: int) -> float:
        """Return the parameter step of the flow, 1/(s^2 m), for a unit step of the function."""
        return 1 / (self.factor(width) ** 2 * width)

"""An error that knows the parameter of which it speaks, so that the command line can name its option."""


class ParameterError(ValueError):
    """A value of a parameter that is refused.

    Parameters
    ----------
    parameter : str
        Name of the parameter in Python.
    message : str
        What was expected, what came, and what to try.
    """

    def __init__(self, parameter, message) -> None:
        super().__init__(parameter, message)
        self.parameter = parameter
        self.message = message

    def __str__(self) -> str:
        return f"{self.parameter}: {self.message}"

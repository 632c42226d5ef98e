"""An error that carries the name of its parameter, so that the command line can name the option."""


class ParameterError(ValueError):
    """A parameter has a value that is not accepted.

    Parameters
    ----------
    parameter : str
        Name of the parameter in Python.
    message : str
        What was expected, what was given, and what to try.
    """

    def __init__(self, parameter, message) -> None:
        super().__init__(parameter, message)
        self.parameter = parameter
        self.message = message

    def __str__(self) -> str:
        return f"{self.parameter}: {self.message}"

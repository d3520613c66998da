"""The error of a setting that a process cannot work with."""


class ConfigurationError(ValueError):
    """The process cannot start. The message names the setting, what is wrong and what is allowed."""

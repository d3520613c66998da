"""The version of the package, which the client also names itself by in calls."""

__version__ = "0.1.0"

"""How a process starts: settings from the environment, the `keys` command, the garbage collector.

Code that runs for each request or batch must not come in.
"""

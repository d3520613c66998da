"""How a process starts: settings from the environment, the command line for keys, the garbage collector.

Everything here runs once, at start; what runs for each request or batch must not come in.
"""

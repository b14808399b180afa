"""From a recording to a model bundle: simulate, read, train, quantise, evaluate.

Never imported by the daemon.
"""

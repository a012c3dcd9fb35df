"""Other libraries, each in an environment of its own, driven step by step by the benchmark.

``protocol`` and ``histories`` and the workers run in those environments: they import neither this project nor
what it depends on, numpy and the library's own dependencies apart.
"""

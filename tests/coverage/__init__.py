"""Which branches of filemapd the tests take, in all of its processes, on the host and in guests together.

    make coverage

The product has no code for it. While the tests run, a file in the virtual environment makes each Python that starts
there measure itself (measuring.py). The data files are combined where the tests ran (gather.py), then in all
(report.py).
"""

"""Which branches of filemapd the tests take, in all of its processes, on the host and in guests together.

    make coverage

Nothing in the product knows of it. While the tests run, a file in the virtual environment has each Python that starts
there begin to measure (measuring.py). What its processes leave is gathered where the tests have run (gather.py) and
added up (report.py).
"""

"""The suites of tests/run.py: what they run, how it is counted, how it is shown."""

"""Records conversations of real clients with real servers into testdata/.

`tests/tools/record_fixtures.py` runs it.
"""

"""What no peer may do to us, whatever it sends: a target for each reader of foreign bytes, and inputs kept.

`make fuzz` looks for inputs that break a target; `test_corpus.py` replays those that are kept.
"""

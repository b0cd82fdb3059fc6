"""From a spool to tables: what the raw records of one recording mean.

Runs when the recording has ended or, for a report in mid-trace, while it goes on.
"""

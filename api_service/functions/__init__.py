"""What is done in the background: jobs, run as functions on a schedule, or by the API process of one machine.

Every job may be run at any time, twice, and by several processes at once: what it has done stays done.
"""

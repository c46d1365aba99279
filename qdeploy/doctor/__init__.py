"""What works on this machine, found out by doing it.

cases    what there is to try: targets, backends, models, profiles
examine  tries one case in a worker process, with a deadline, and says how it ended
worker   the worker's end

Drivers crash and hang. In a worker that is one row of the table.
"""

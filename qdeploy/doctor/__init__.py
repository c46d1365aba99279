"""What works on this machine, found out by doing it.

cases    what there is to try: targets, backends, models, profiles
child    the program that tries one case in a process of its own
examine  starts that process, waits so long and no longer, and says how it ended

Drivers crash and hang. In a child process that is a line of the table and not the end of it.
"""

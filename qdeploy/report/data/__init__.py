"""The data of a report: results of all machines, grouped and arranged into tables."""

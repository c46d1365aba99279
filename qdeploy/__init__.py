"""qdeploy: one Qwen3 checkpoint on many kinds of hardware.

The command line is `qdeploy --help`; the same steps from Python:

    from qdeploy.deploy import export, run

Everything a backend or an exporter needs to know is in `qdeploy.interface`.
"""

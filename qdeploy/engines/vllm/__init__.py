"""vLLM: its environment, its commands, and its ways to spread a model.

builds        which packages a target takes
environment   finds the environment that has them, and asks what is in it
install       makes and removes it
command       the command line and the environment variables of a server
forms         forms of weights that it has no kernel for
log           what a server says of itself
spread        a load over several machines: its properties, and how it is started
cluster       one command that runs all processes of a server
nodes         a server on several machines: command lines and environments of its processes
accelerators  what differs by hardware where there are several machines
overlay       what vLLM for CPUs needs beside it there
amx           a plugin of vLLM in the overlay
ray_on_cpu    another one
"""

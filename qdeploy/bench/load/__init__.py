"""Many requests at once: throughput against latency, by the load protocol of docs/benchmarking.md.

protocol   what is sent, as data with a hash
goodput    limits that an answer has to keep to be of use
clients    sends requests, as clients that wait for answers or as arrivals that do not
worker     loads a bundle and measures it under each load
parent     runs workers, in rounds over the bundles
rows       makes rows of results
"""

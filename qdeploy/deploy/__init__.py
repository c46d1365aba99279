"""The steps behind the commands: export, run, and the cache between them.

api            what `import qdeploy` has
export         carries out a plan
work_key       by which an export resumes an interrupted one
alternative    another way to export a model that an exporter refuses
card           a bundle's model card
cache          bundles of `run`, references of `eval`, calibrations, compiled kernels
obtain         the bundle that a user means
hub_bundle     bundles on the hub
run            finds a backend and a device, and loads a bundle
shortage       too little memory for a bundle, and what helps
loaded_models  a bundle that is loaded, with its text
"""

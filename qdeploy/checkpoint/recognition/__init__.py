"""What a user gave that is not a checkpoint: what it is, and what helps.

model_names   what the name of a model means
recognize     folders and files of other kinds
nearby        what a path may have meant
damage        files that are not what their names say
not_a_bundle  a path that was given for a bundle
"""

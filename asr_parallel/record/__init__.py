"""The experiment directory as the record: whole files, cached stages, progress, log, environment."""

"""Files that people write, YAML <-> checked models: `train` of a training run, `site` of cameras. Builds nothing."""

"""`python -m ray_apps.training --job '<TrainJob as JSON>'`: the entry point of a training run as a Ray job."""

import sys

from ray_apps.training.entry import main

if __name__ == "__main__":
    sys.exit(main())

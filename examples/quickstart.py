"""Train a small classifier on handwritten digits, and see where cosine similarity disagrees with the probabilities.

Needs `pip install 'lightning-cossim[demo]'`, no download, half a minute on a CPU:

    python examples/quickstart.py

The same as `lightning-cossim demo`, from any folder. Its code is in `lightning_cossim/analysis/demo.py`: a LightningModule, a
Trainer with the callback, and `print(monitor.last_report["val"])`.
"""

import argparse

from lightning_cossim.analysis.demo import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", default="lightning_logs")
    main(**vars(parser.parse_args()))

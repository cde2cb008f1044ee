"""Train a small classifier on handwritten digits, and see where label cosine similarity disagrees with the probabilities.

    pip install 'lightning-cossim[demo]'
    python examples/quickstart.py

The training takes half a minute on a CPU and downloads nothing. `lightning-cossim demo` does the same from any folder.

In your own training, add the callback with the names of your labels, and print its report after the fit:

    monitor = LabelSimilarityMonitor(labels=["cat", "dog", "horse"])
    trainer = pl.Trainer(callbacks=[monitor])
    trainer.fit(model, training, validation)
    print(monitor.last_report["val"])

The code of this example is in `lightning_cossim/analysis/demo.py`.
"""

import argparse

from lightning_cossim.analysis.demo import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="number of training epochs; default: 20")
    parser.add_argument("--folder", default="lightning_logs", help="folder of the logs; default: lightning_logs")
    main(**vars(parser.parse_args()))

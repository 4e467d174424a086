"""Digits in scikit-learn: a grid over rules and regularization, in a pipeline.

    python sklearn_digits.py              on this machine, two processes
    python sklearn_digits.py --dask 2     the same grid on Dask, two workers here
    python sklearn_digits.py --scheduler tcp://HOST:8786     on a cluster that runs already

A grid's models are independent. Each is trained by one thread, and as many at a time as there are
workers. The result is the same on one machine and on many, to the last bit.
"""

import argparse
from typing import Any

import joblib
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from gaitprop import load_data
from gaitprop.sklearn import GaitPropClassifier


def search() -> Any:
    """Return the grid search, not yet fitted."""
    model = GaitPropClassifier(
        hidden_layer_sizes=(64, 64), learning_rate_init=1e-3, max_iter=30, random_state=1
    )
    grid = {
        "gaitpropclassifier__rule": ["gait", "bp"],
        "gaitpropclassifier__alpha": [0.0, 0.1],
    }
    return GridSearchCV(make_pipeline(MinMaxScaler(), model), grid, cv=3, n_jobs=2)


def main() -> None:
    """Run the grid and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dask", type=int, metavar="N", help="run on N Dask workers, started here")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="run on this Dask scheduler")
    options = parser.parse_args()

    digits = load_data("digits")
    grid = search()
    if options.dask or options.scheduler:
        from distributed import Client

        workers = {"n_workers": options.dask, "threads_per_worker": 1, "dashboard_address": ":0"}
        client = Client(options.scheduler) if options.scheduler else Client(**workers)
        with client, joblib.parallel_config(backend="dask"):
            grid.fit(*digits.train)
    else:
        grid.fit(*digits.train)
    for setting, score in zip(
        grid.cv_results_["params"], grid.cv_results_["mean_test_score"], strict=True
    ):
        rule, weight = (setting[f"gaitpropclassifier__{k}"] for k in ("rule", "alpha"))
        print(f"{rule:5} alpha {weight:<4} {score:.1%} held out")
    print(f"best, on the test set: {grid.score(*digits.test):.1%}")


if __name__ == "__main__":
    main()

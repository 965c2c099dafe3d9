"""Estimators of scikit-learn that train with pynet: drop-in for MLPClassifier and MLPRegressor, and more.

>>> from pynet.sklearn import MLPClassifier
>>> MLPClassifier((64, 32), dropout=0.2, class_weight="balanced").fit(X, y).score(X_test, y_test)
"""

from __future__ import annotations

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(f'pynet.sklearn needs scikit-learn ({error}): pip install "pynet[sklearn]"') from error

from .classifier import MLPClassifier
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]

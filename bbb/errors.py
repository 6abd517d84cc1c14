"""The exceptions of bbb.

* BBBError
  * ShapeError (ValueError): an array or tensor has the wrong shape.
  * ConfigError (ValueError): an argument or a configuration key is wrong.
  * FormatError (ValueError): a file is wrong; the message starts with ``file:line``.
  * DataError (ValueError): data that parsed cannot be used (a missing id, NaN, one class only).
  * UnsupportedLayerError (TypeError): a layer has no Bayesian twin.
  * UnsupportedDistributionError (TypeError): an estimator does not fit a distribution or a cost.
  * NumericsError (ArithmeticError): a computation became singular or not finite.

Each also derives from the built-in exception in brackets, so that callers need not import this
module to catch it.
"""


class BBBError(Exception):
    """Base of every error that bbb raises on purpose."""


class ShapeError(BBBError, ValueError):
    """An array or a tensor has the wrong shape or length."""


class ConfigError(BBBError, ValueError):
    """An argument or a configuration key is wrong."""


class FormatError(BBBError, ValueError):
    """A file does not follow its format; the message starts with ``file:line``."""


class DataError(BBBError, ValueError):
    """Data that parsed cannot be used: a missing id, NaN, a class without a trial."""


class UnsupportedLayerError(BBBError, TypeError):
    """A layer that a pattern names has no Bayesian twin."""


class NumericsError(BBBError, ArithmeticError):
    """A computation became singular, or not finite."""


class UnsupportedDistributionError(BBBError, TypeError):
    """An estimator cannot be used with a distribution or a cost; the message names one that can."""

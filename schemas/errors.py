"""Errors that a user can act on; the command line prints them without a traceback."""


class DssmError(Exception):
    """An error whose message says what was expected, what came, and what to do."""


class ConfigError(DssmError):
    """A configuration or schema file is wrong."""


class DataError(DssmError):
    """The input data cannot be used as they are."""


class StorageError(DssmError):
    """A file or an object store cannot be reached, read or written."""


class ReleaseError(DssmError):
    """A release cannot be written, read or trusted."""


class TrainingError(DssmError):
    """Training cannot start or cannot go on."""


class BusyError(DssmError):
    """Another process is at work where one at a time may be."""

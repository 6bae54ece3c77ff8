"""The artifact types of the custom components."""

from tfx.types.artifact import Artifact


class Catalogue(Artifact):
    """Every item once, with its features, as catalogue.parquet."""

    TYPE_NAME = "components.Catalogue"


class Sequences(Artifact):
    """A row for each user with the positives in their order, in Parquet, as schemas.sequences says."""

    TYPE_NAME = "components.Sequences"


class DeadLetters(Artifact):
    """Input that could not be used, with the reason and where it was, as Parquet; and dead_letters.json."""

    TYPE_NAME = "components.DeadLetters"


class CandidateIndex(Artifact):
    """The item tower's embedding of every catalogue item, beside the catalogue."""

    TYPE_NAME = "components.CandidateIndex"


class AnnIndex(Artifact):
    """An approximate index beside the candidate index; ann.json says how it is searched, or that none is."""

    TYPE_NAME = "components.AnnIndex"


class Report(Artifact):
    """One JSON document with figures that a person reads."""

    TYPE_NAME = "components.Report"


class Page(Artifact):
    """One self-contained HTML file, which Kubeflow Pipelines shows in its own page."""

    TYPE_NAME = "system.HTML"


class Markdown(Artifact):
    """One Markdown file, which Kubeflow Pipelines shows in its own page."""

    TYPE_NAME = "system.Markdown"


class Metrics(Artifact):
    """Numbers as custom properties, which Kubeflow Pipelines lists and compares; and a JSON file of them."""

    TYPE_NAME = "system.Metrics"

"""What the gate reads of TFDV's statistics, without TFDV, whose import takes longer than the whole gate."""

from collections.abc import Mapping

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.anomaly_gate.distances import Quantiles
from schemas.errors import DataError


class TableStatistics:
    """The statistics of a table; where its rows are weighted, they count by their weight."""

    def __init__(self, message: statistics_pb2.DatasetFeatureStatisticsList) -> None:
        """Index the statistics.

        Args:
            message: TFDV's statistics of one data set.
        """
        [dataset] = message.datasets or [statistics_pb2.DatasetFeatureStatistics()]
        self._is_weighted = dataset.weighted_num_examples > 0
        self._features = {feature.path.step[0]: feature for feature in dataset.features if feature.path.step}

    def count_labels(self, feature: str) -> Mapping[str, float]:
        """Tell how often each label of a feature is there.

        Args:
            feature: A feature of strings, or of integers that are labels.

        Returns:
            The sum of the rows' weights by label, of the 1,000 labels with the largest; empty where no row
            that counts has one.
        """
        strings = self._find(feature).string_stats
        ranks = strings.weighted_string_stats.rank_histogram if self._is_weighted else strings.rank_histogram
        return {bucket.label: bucket.sample_count for bucket in ranks.buckets if bucket.sample_count > 0}

    def list_labels(self, feature: str) -> list[str]:
        """List the labels of a feature whatever the weights.

        Args:
            feature: A feature of strings.

        Returns:
            The 1,000 labels that most rows have.
        """
        return [bucket.label for bucket in self._find(feature).string_stats.rank_histogram.buckets]

    def read_quantiles(self, feature: str) -> Quantiles | None:
        """Tell how the numbers of a feature are spread.

        Args:
            feature: A feature of numbers.

        Returns:
            The histogram in ten equal shares of the rows' weights; None where no row that counts has one. A
            row of weight 0 changes nothing in it, while TFDV's histogram of equal widths spans such rows
            too.
        """
        numbers = self._find(feature).num_stats
        histograms = numbers.weighted_numeric_stats.histograms if self._is_weighted else numbers.histograms
        for histogram in histograms:
            if histogram.type == statistics_pb2.Histogram.QUANTILES and histogram.buckets:
                return Quantiles(
                    lows=[bucket.low_value for bucket in histogram.buckets],
                    highs=[bucket.high_value for bucket in histogram.buckets],
                    counts=[bucket.sample_count for bucket in histogram.buckets],
                )
        return None

    def _find(self, feature: str) -> statistics_pb2.FeatureNameStatistics:
        return self._features.get(feature, statistics_pb2.FeatureNameStatistics())


def parse_statistics(content: bytes, source: str) -> TableStatistics:
    """Parse TFDV's statistics of a table.

    Args:
        content: The file.
        source: Its name, for the message.

    Returns:
        The statistics.

    Raises:
        DataError: They are no statistics of one data set.
    """
    try:
        return TableStatistics(statistics_pb2.DatasetFeatureStatisticsList.FromString(content))
    except (DecodeError, ValueError) as error:
        raise DataError(f"{source}: expected statistics of TFDV. Received: {error}.") from error

"""The sections of the report in their order."""

from components.run_report.blocks import Section
from components.run_report.config import ReportConfig
from components.run_report.inputs import RunFacts
from components.run_report.sections.ann import describe_ann
from components.run_report.sections.changes import describe_changes, describe_samples
from components.run_report.sections.data import describe_anomalies, describe_data
from components.run_report.sections.embeddings import describe_embeddings, describe_map
from components.run_report.sections.gate import describe_gate, describe_verdict
from components.run_report.sections.quality import describe_curves, describe_metrics
from components.run_report.sections.settings import describe_settings
from components.run_report.sections.slices import describe_slices
from components.run_report.sections.training import describe_training


def build_sections(facts: RunFacts, config: ReportConfig) -> list[Section]:
    """Build the report.

    Args:
        facts: What is known of the run.
        config: What is drawn.

    Returns:
        The sections, the verdict first. One whose figures are missing says so.
    """
    evaluation = facts.evaluation
    return [
        describe_verdict(evaluation),
        describe_metrics(evaluation),
        describe_curves(evaluation),
        describe_gate(evaluation),
        describe_changes(evaluation),
        describe_training(facts.model, facts.scalars, facts.refit_scalars),
        describe_slices(evaluation),
        describe_data(facts.ingest),
        describe_anomalies(facts.anomalies),
        describe_ann(evaluation),
        describe_embeddings(facts.embeddings),
        describe_map(facts, config),
        describe_samples(evaluation),
        describe_settings(facts),
    ]

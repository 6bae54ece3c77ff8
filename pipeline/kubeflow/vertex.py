"""The same pipeline for Vertex AI Pipelines. Untested against the service."""

import json

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.config import PipelineConfig
from pipeline.kubeflow.compiler import build_job, complete_spec, list_steps, refuse_credentials
from pipeline.kubeflow.preparation import prepare_config
from schemas.features import FeatureSpec


def compile_for_vertex(config: PipelineConfig, features: FeatureSpec) -> str:
    """Compile the pipeline for Vertex AI; untested against the service.

    There is no platform document: secrets, volumes, node selectors, tolerations, pull settings and
    timeouts are Kubernetes' alone, and `preparation.left_out_for_vertex` lists those that are set.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.

    Returns:
        A PipelineJob as JSON; the same text for the same configuration.

    Raises:
        ConfigError: The configuration lacks what Vertex needs, or contradicts itself.
    """
    config = prepare_config(config, target="vertex")
    job = build_job(config, features)
    job["runtimeConfig"] = {"gcsOutputDirectory": config.kubeflow.pipeline_root}
    complete_spec(config, job["pipelineSpec"])
    for step in list_steps(config, job["pipelineSpec"]):
        settings = step.settings
        if "retryPolicy" in step.task:
            # Here it is the longest single wait, an hour at most.
            step.task["retryPolicy"]["backoffMaxDuration"] = "3600s"
        resources = {"cpuLimit": settings.cpu, "memoryLimit": settings.memory_gb}
        step.container["resources"] = {key: value for key, value in resources.items() if value is not None}
        if settings.gpu is not None:
            step.container["resources"]["accelerator"] = {
                "type": settings.gpu.vertex_type,
                "count": str(settings.gpu.count),
            }
    json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
    text = json.dumps(job, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    refuse_credentials(text)
    return text

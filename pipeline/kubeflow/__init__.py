"""The pipeline on Kubeflow Pipelines and, untested, Vertex AI."""

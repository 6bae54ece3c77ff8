"""What open-source Kubeflow Pipelines refuses late or gets wrong silently in a compiled pipeline."""

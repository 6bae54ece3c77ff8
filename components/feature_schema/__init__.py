"""FeatureSchema: a FeatureSpec to a TensorFlow Metadata schema artifact."""

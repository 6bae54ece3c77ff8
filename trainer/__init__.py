"""From a FeatureSpec and a TransformGraph to two trained towers."""

"""AnomalyGate: stops the run on anomalies of severity ERROR."""

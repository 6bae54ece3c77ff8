"""What happens to releases between trainings."""

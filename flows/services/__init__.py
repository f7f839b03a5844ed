"""The programs around headforge: Prefect server, DVC, MLflow."""

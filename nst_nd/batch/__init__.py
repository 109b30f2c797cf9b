"""Hundreds of jobs from one YAML.

Which they are (expand), what is wrong with them (preflight), who does them (executors), and what became of them
(records, manifest), held together by the coordinator.
"""

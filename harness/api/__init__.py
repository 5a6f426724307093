"""What `import harness` offers to Python programs and notebooks; `harness/__init__.py` names it and imports it when it is asked for."""

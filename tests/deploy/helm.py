"""Runs `helm lint`, `helm template` and `helm package` with Helm's own library, without the program `helm`.

helm.py lint CHART VALUES       prints the faults, one per line; exit code 1 if there is a warning or an error
helm.py template CHART VALUES   prints the manifests of a release `test` in the namespace `monitoring` as YAML documents
helm.py package CHART FOLDER    writes an archive and prints its path

VALUES are JSON. They override those of the chart.
"""

import json
import sys

import helm_python as helm

RELEASE, NAMESPACE = "test", "monitoring"
WARNING = 2


def lint(chart, values):
    report = helm.lint(chart, values=json.loads(values), strict=True, namespace=NAMESPACE)
    faults = [message for message in report["messages"] if message["severity"] >= WARNING]
    for message in faults:
        print(message["path"], message["error"])
    return 1 if faults or not report["total_charts_linted"] else 0


def template(chart, values):
    with helm.Chart.load(chart) as loaded:
        values = json.loads(values)
        loaded.validate_schema(values)
        rendered = loaded.render(values=values, name=RELEASE, namespace=NAMESPACE)
    for path, text in sorted(rendered.items()):
        if path.endswith(".yaml") and text.strip():
            print("---", text, sep="\n")
    return 0


def package(chart, folder):
    with helm.Chart.load(chart) as loaded:
        print(loaded.save(folder))
    return 0


act = {"lint": lint, "template": template, "package": package}[sys.argv[1]]
try:
    sys.exit(act(*sys.argv[2:]))
except helm.HelmError as error:
    sys.exit(f"helm: {error}")

"""What `helm lint`, `helm template` and `helm package` do, by Helm's own library, for where the program `helm` cannot be had.

helm.py lint CHART VALUES       prints what it finds, one a line; exit code 1 if there is anything but a hint
helm.py template CHART VALUES   prints what a release named `test` in the namespace `monitoring` consists of, one YAML document each
helm.py package CHART FOLDER    prints the path of the archive

VALUES are JSON, over those of the chart.
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

// Validates ServiceMonitors and PrometheusRules, read as JSON from standard input, one per line, with the schemas of
// the prometheus-operator. Prints the kind of each and `ok`, or its faults. Run it in the folder with these schemas,
// which tests/deploy/install makes: node --input-type=module --eval "$(cat operator.mjs)"
import { readFileSync } from "node:fs";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const kinds = { PrometheusRule, ServiceMonitor };

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const resource = JSON.parse(line);
  try {
    new kinds[resource.kind](resource).validate();
    console.log(resource.kind, "ok");
  } catch (fault) {
    console.log(resource.kind, String(fault));
    process.exitCode = 1;
  }
}

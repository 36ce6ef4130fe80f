// Checks ServiceMonitors and PrometheusRules, JSON documents one a line on standard input, against the prometheus-operator's own
// schemas. Prints each one's kind and `ok`, or its faults. To be run in the folder where tests/deploy/install put them:
// node --input-type=module --eval "$(cat operator.mjs)"
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

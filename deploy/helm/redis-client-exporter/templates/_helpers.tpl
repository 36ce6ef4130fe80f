{{/* Names and labels shared by all resources of a release. */}}
{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* If the release name contains the chart's name, it is not repeated. 52 characters leave room for suffixes. */}}
{{- define "exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "exporter.labels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{/* With users or client certificates, the exporter refuses the kubelet. `healthy` needs neither. */}}
{{- define "exporter.probe" -}}
{{- if .root.Values.web.configSecret -}}
exec:
  command: [/redis-client-exporter, healthy]
{{- else -}}
httpGet:
  path: {{ .path }}
  port: metrics
{{- end }}
timeoutSeconds: 5
{{- end }}

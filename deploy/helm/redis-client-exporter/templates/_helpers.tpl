{{/* Names and labels that every part of a release shares. */}}
{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A release that is named after the chart does not say it twice. 52 characters leave room for what is added to it. */}}
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

{{/* With users or client certificates the kubelet is refused; the program itself finds out without either. */}}
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

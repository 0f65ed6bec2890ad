{{/* The chart's name, or what replaces it. */}}
{{- define "opamp-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of objects. Cut where a suffix of 9 still fits into 63. */}}
{{- define "opamp-operator.fullname" -}}
{{- $name := include "opamp-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 54 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "opamp-operator.labels" -}}
app.kubernetes.io/name: {{ include "opamp-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* The ServiceAccount that the operator runs under. */}}
{{- define "opamp-operator.serviceAccountName" -}}
{{- default (include "opamp-operator.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Whether agents may be ServiceAccounts; empty if not. */}}
{{- define "opamp-operator.serviceAccounts" -}}
{{- range .Values.authenticators }}{{ if hasKey . "serviceAccount" }}true{{ end }}{{ end -}}
{{- end -}}

{{/* Where agents may be at home, by the rules of the operator's configuration: a list in YAML. */}}
{{- define "opamp-operator.homes" -}}
{{- $homes := .Values.homeNamespaces -}}
{{- $claimed := false -}}
{{- range .Values.authenticators -}}
{{- if hasKey . "agentToken" -}}
{{- $homes = append $homes (default $.Release.Namespace .agentToken.namespace) -}}
{{- else -}}
{{- $fixed := coalesce (dig "namespace" "" (default dict .clientCertificate)) (dig "namespace" "" (default dict .jwt)) -}}
{{- if $fixed -}}{{- $homes = append $homes $fixed -}}{{- else -}}{{- $claimed = true -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $claimed (not .Values.homeNamespaces) -}}
{{- $homes = concat $homes (default (list .Release.Namespace) .Values.watchNamespaces) -}}
{{- end -}}
{{- toYaml (uniq $homes) -}}
{{- end -}}

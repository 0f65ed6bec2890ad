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
{{ include "opamp-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that find the Pod. They can never change. */}}
{{- define "opamp-operator.selector" -}}
app.kubernetes.io/name: {{ include "opamp-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of the Service for metrics, which tell it from that for agents. */}}
{{- define "opamp-operator.metrics" -}}
{{ include "opamp-operator.labels" . }}
opamp-operator.dev/service: metrics
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
{{- with .Values.anonymous.namespace -}}
{{- $homes = append $homes . -}}
{{- end -}}
{{- toYaml (uniq $homes) -}}
{{- end -}}

{{/* The image, by digest if there is one. */}}
{{- define "opamp-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the serving certificate. */}}
{{- define "opamp-operator.servingSecret" -}}
{{- .Values.servingCertificate.secretName | default (printf "%s-serving" (include "opamp-operator.fullname" .)) -}}
{{- end -}}

{{/* The Service as agents in the cluster call it. */}}
{{- define "opamp-operator.host" -}}
{{- printf "%s.%s.svc" (include "opamp-operator.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* Where agents are sent by profiles without an endpoint. */}}
{{- define "opamp-operator.advertisedURL" -}}
{{- .Values.advertisedURL | default (printf "wss://%s:%d%s" (include "opamp-operator.host" .) (int .Values.service.port) .Values.path) -}}
{{- end -}}

{{/* Its host, by which agents verify the operator. */}}
{{- define "opamp-operator.advertisedHost" -}}
{{- $url := urlParse (include "opamp-operator.advertisedURL" .) -}}
{{- if ne $url.path .Values.path -}}
{{- fail (printf "advertisedURL: its path must be %s (the value `path`), as in wss://%s%s" .Values.path $url.host .Values.path) -}}
{{- end -}}
{{- $url.hostname -}}
{{- end -}}

{{/* The Secrets and ConfigMaps of the release namespace that values name: a list of kind/name in YAML. */}}
{{- define "opamp-operator.named" -}}
{{- $named := list (printf "Secret/%s" (include "opamp-operator.servingSecret" .)) -}}
{{- with .Values.denyList.name -}}
{{- $named = append $named (printf "ConfigMap/%s" .) -}}
{{- end -}}
{{- range .Values.authenticators -}}
{{- if and (hasKey . "agentToken") (eq (default $.Release.Namespace (dig "agentToken" "namespace" "" .)) $.Release.Namespace) -}}
{{- $named = append $named (printf "Secret/%s" .agentToken.secretName) -}}
{{- end -}}
{{- range list (dig "clientCertificate" "caBundleRef" dict .) (dig "jwt" "jwks" "keyRef" dict .) -}}
{{- if .name -}}
{{- $named = append $named (printf "%s/%s" (default "ConfigMap" .kind) .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml (uniq $named) -}}
{{- end -}}

{{/* An address to listen on. */}}
{{- define "opamp-operator.listen" -}}
{{- if contains ":" .address }}[{{ .address }}]{{ else }}{{ .address }}{{ end }}:{{ int .port }}
{{- end -}}

{{/* The operator's configuration: what needs a restart, and what does not. */}}
{{- define "opamp-operator.configuration" -}}
apiVersion: opamp-operator.dev/v1alpha1
kind: OperatorConfiguration
namespace: {{ .Release.Namespace | quote }}
listen: {{ include "opamp-operator.listen" (dict "address" .Values.listenAddress "port" 4320) | quote }}
path: {{ .Values.path }}
advertisedURL: {{ include "opamp-operator.advertisedURL" . }}
servingCertificate:
  secretName: {{ include "opamp-operator.servingSecret" . }}
shutdown:
  serviceName: {{ include "opamp-operator.fullname" . }}
  seconds: {{ sub (int64 .Values.terminationGracePeriodSeconds) 10 }}
admin:
  listen: {{ include "opamp-operator.listen" (dict "address" .Values.listenAddress "port" .Values.adminPort) | quote }}
{{- range $name := list "watchNamespaces" "adminNamespaces" }}
{{- with index $.Values $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
policy:
  {{- toYaml .Values.policy | nindent 2 }}
{{- range $name := list "reviewSeconds" "debounceMilliseconds" "firstAgentTimeoutSeconds" "restartHoldSeconds" }}
{{ $name }}: {{ index $.Values $name | int64 }}
{{- end }}
{{- with .Values.telemetry }}
telemetry:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.limits }}
limits:
  {{- range $name, $value := . }}
  {{ $name }}: {{ int64 $value }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "opamp-operator.reloadedConfiguration" -}}
authenticators:
  {{- .Values.authenticators | default list | toYaml | nindent 2 }}
{{- range $name := list "homeNamespaces" "anonymous" "denyList" }}
{{- with index $.Values $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
retirementHours: {{ int64 .Values.retirementHours }}
{{- end -}}

{{/* Labels and the first annotation of an alert: root, name, severity. */}}
{{- define "opamp-operator.alert" -}}
{{- $name := index . 1 -}}
{{- with (index . 0).Values.metrics.prometheusRule -}}
labels:
  severity: {{ index $ 2 }}
  {{- with .alertLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  runbook_url: {{ printf "%s#%s" .runbookURL (lower $name) }}
{{- end }}
{{- end -}}

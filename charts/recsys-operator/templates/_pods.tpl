{{- /* What every pod of the chart has: nobody's rights on the node, and nothing to write to but /tmp. */ -}}
{{- define "recsys.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "recsys.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "recsys.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote -}}
{{- end -}}

{{- /* The pod of a program that runs once: (dict "root" $ "account" NAME "module" MODULE "env" LIST). */ -}}
{{- define "recsys.once" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: true
enableServiceLinks: false
restartPolicy: Never
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "recsys.podSecurity" .root | nindent 2 }}
containers:
- name: {{ .module }}
  image: {{ include "recsys.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [python, -m, recsys_operator.{{ .module }}]
  env: {{- toYaml .env | nindent 2 }}
  resources:
    requests: {cpu: 50m, memory: 128Mi, ephemeral-storage: 16Mi}
    limits: {memory: 256Mi, ephemeral-storage: 64Mi}
  securityContext: {{- include "recsys.containerSecurity" .root | nindent 4 }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- /* What such a pod may connect to: (dict "root" $ "name" NAME "hook" ANNOTATIONS). It is made and goes with the hook's other objects. */ -}}
{{- define "recsys.oncePolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "recsys.labels" .root | nindent 4 }}
  annotations: {{- toYaml .hook | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ .name }}
      app.kubernetes.io/instance: {{ .root.Release.Name }}
  policyTypes: [Ingress, Egress]
  egress:
  - ports:
    {{- include "recsys.portOfNames" . | nindent 4 }}
    {{- range .root.Values.networkPolicy.egress.apiServerPorts }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end -}}

{{- define "recsys.portOfNames" -}}
- {protocol: UDP, port: 53}
- {protocol: TCP, port: 53}
{{- end -}}

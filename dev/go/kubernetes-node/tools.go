//go:build tools

// Package tools pins the Kubernetes programs of a node and of its scheduler; the control plane's are pinned beside it.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubelet"
)

//go:build never

// Package ci holds what the checks take from Go modules. The programs are the tools of go.mod; these two are needed for the
// custom resource definitions that lie in them, and are named here because `go mod tidy` drops what nothing imports.
package ci

import (
	_ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
	_ "sigs.k8s.io/gateway-api/pkg/consts"
)

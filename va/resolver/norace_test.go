//go:build !race

package resolver_test

const racing = false

//go:build race

package resolver_test

// racing tells that the race detector is on: what is long without it takes some ten times as long.
const racing = true

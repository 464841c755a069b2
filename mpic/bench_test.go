package mpic

import "testing"

// BenchmarkJudge decides one attempt with five remotes, one of which failed.
func BenchmarkJudge(b *testing.B) {
	e := unanimous(b, fiveRegions(), december)
	e.Remotes[2] = silent(e.Remotes[2].Perspective)
	for b.Loop() {
		if !Judge(e).Granted() {
			b.Fatal("refused")
		}
	}
}

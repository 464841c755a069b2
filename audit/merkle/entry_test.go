package merkle_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/audit/merkle"
)

// entryText is the example of docs/log.md.
const entryText = `quorate-log/v1
leaf 41
kind decision
subject 17
recorded 2026-10-02T08:15:30.120000000Z
sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
`

func exampleEntry() merkle.Entry {
	return merkle.Entry{
		Leaf: 41, Kind: merkle.Decision, Subject: 17,
		Recorded: time.Date(2026, 10, 2, 8, 15, 30, 120_000_000, time.UTC),
		SHA256:   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	}
}

func TestEntryHasTheFormOfTheDocument(t *testing.T) {
	require.Equal(t, entryText, string(exampleEntry().Data()))
	entry, err := merkle.ParseEntry([]byte(entryText))
	require.NoError(t, err)
	require.Equal(t, exampleEntry(), entry)

	// RFC 6962 section 2.1, worked out without tlog.
	want := sha256.Sum256([]byte("\x00" + entryText))
	require.Equal(t, tlog.Hash(want), entry.Hash())
}

func TestEntryIsOneTextInEveryTimeZone(t *testing.T) {
	entry := exampleEntry()
	entry.Recorded = entry.Recorded.In(time.FixedZone("", -5*3600))
	require.Equal(t, entryText, string(entry.Data()))
}

func TestParseEntryRefusesEveryOtherForm(t *testing.T) {
	cases := map[string]struct{ old, new, want string }{
		"empty":                 {entryText, "", "no newline at its end"},
		"one newline":           {entryText, "\n", "first line"},
		"no newline at the end": {"15ad\n", "15ad", "no newline at its end"},
		"a line too many":       {"15ad\n", "15ad\n\n", "7 lines, not 6"},
		"a line too few":        {"subject 17\n", "", "5 lines, not 6"},
		"another version":       {"v1", "v2", "first line"},
		"CRLF":                  {"\n", "\r\n", "first line"},
		"fields swapped":        {"leaf 41\nkind decision", "kind decision\nleaf 41", `not the field "leaf"`},
		"field in capitals":     {"leaf", "Leaf", `not the field "leaf"`},
		"leaf with a zero":      {"leaf 41", "leaf 041", "shortest decimal form"},
		"leaf with a sign":      {"leaf 41", "leaf +41", "shortest decimal form"},
		"negative leaf":         {"leaf 41", "leaf -41", "shortest decimal form"},
		"leaf beyond an int64":  {"leaf 41", "leaf 9223372036854775808", "shortest decimal form"},
		"two spaces":            {"leaf 41", "leaf  41", "shortest decimal form"},
		"no leaf":               {"leaf 41", "leaf ", "shortest decimal form"},
		"subject with a space":  {"subject 17", "subject 17 ", "subject"},
		"unknown kind":          {"decision", "verdict", `unknown kind "verdict"`},
		"no kind":               {"kind decision", "kind ", `unknown kind ""`},
		"time in another zone":  {"Z\n", "+00:00\n", "RFC 3339"},
		"time with a comma":     {"30.12", "30,12", "RFC 3339"},
		"three decimals":        {"120000000Z", "120Z", "RFC 3339"},
		"leap second":           {"08:15:30", "23:59:60", "RFC 3339"},
		"no such day":           {"2026-10-02", "2026-02-30", "RFC 3339"},
		"digest in capitals":    {"ba7816", "BA7816", "64 lower case hex digits"},
		"digest too short":      {"15ad", "15", "64 lower case hex digits"},
		"digest is not hex":     {"15ad", "15ag", "64 lower case hex digits"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, entryText, c.old)
			_, err := merkle.ParseEntry([]byte(strings.ReplaceAll(entryText, c.old, c.new)))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestEntryCheckRefusesWhatHasNoText(t *testing.T) {
	cases := map[string]func(*merkle.Entry){
		"negative leaf":    func(e *merkle.Entry) { e.Leaf = -1 },
		"negative subject": func(e *merkle.Entry) { e.Subject = -1 },
		"no kind":          func(e *merkle.Entry) { e.Kind = "" },
		"a line in a kind": func(e *merkle.Entry) { e.Kind = "decision\nsubject 3" },
		"year 10000":       func(e *merkle.Entry) { e.Recorded = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year -1":          func(e *merkle.Entry) { e.Recorded = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no digest":        func(e *merkle.Entry) { e.SHA256 = "" },
	}
	require.NoError(t, exampleEntry().Check())
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			entry := exampleEntry()
			change(&entry)
			require.Error(t, entry.Check())
			_, err := merkle.ParseEntry(entry.Data())
			require.Error(t, err)
		})
	}
}

func TestEveryEntryComesBackFromItsData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digest := sha256.Sum256(rapid.SliceOf(rapid.Byte()).Draw(t, "document"))
		entry := merkle.Entry{
			Leaf:     rapid.Int64Min(0).Draw(t, "leaf"),
			Kind:     rapid.SampledFrom(merkle.Kinds()).Draw(t, "kind"),
			Subject:  rapid.Int64Min(0).Draw(t, "subject"),
			Recorded: time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC(),
			SHA256:   strings.ToLower(hexOf(digest)),
		}
		require.NoError(t, entry.Check())
		back, err := merkle.ParseEntry(entry.Data())
		require.NoError(t, err)
		require.Equal(t, entry, back)
	})
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(entryText))
	f.Add([]byte("quorate-log/v1\nleaf 0\nkind sets\nsubject 0\nrecorded 0000-01-01T00:00:00.000000000Z\nsha256 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entry, err := merkle.ParseEntry(data)
		if err == nil {
			require.NoError(t, entry.Check())
			require.Equal(t, data, entry.Data())
		}
	})
}

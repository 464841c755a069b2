package merkle_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

const origin = "gate.example.com/log"

// checkpointText is the example of docs/log.md.
const checkpointText = `gate.example.com/log
42
47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
time 2026-10-02T08:15:31.000000000Z
`

func exampleCheckpoint() merkle.Checkpoint {
	var root tlog.Hash
	raw, err := base64.StdEncoding.DecodeString("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	if err != nil {
		panic(err)
	}
	copy(root[:], raw)
	return merkle.Checkpoint{Origin: origin, Size: 42, Root: root, Time: time.Date(2026, 10, 2, 8, 15, 31, 0, time.UTC)}
}

func logKey(t *testing.T) *merkle.LogKey {
	t.Helper()
	key, err := merkle.GenerateLogKey(origin)
	require.NoError(t, err)
	return key
}

func witnessKey(t *testing.T) *merkle.WitnessKey {
	t.Helper()
	key, err := merkle.GenerateWitnessKey("witness.example.org/w1")
	require.NoError(t, err)
	return key
}

func TestCheckpointHasTheFormOfTheDocument(t *testing.T) {
	require.Equal(t, checkpointText, exampleCheckpoint().Text())
	checkpoint, err := merkle.ParseCheckpoint(checkpointText)
	require.NoError(t, err)
	require.Equal(t, exampleCheckpoint(), checkpoint)
}

func TestParseCheckpointRefusesEveryOtherForm(t *testing.T) {
	cases := map[string]struct{ old, new, want string }{
		"empty":                  {checkpointText, "", "less than three lines"},
		"no newline at the end":  {"000Z\n", "000Z", "less than three lines"},
		"two lines":              {"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\ntime 2026-10-02T08:15:31.000000000Z\n", "", "less than three lines"},
		"empty origin":           {origin, "", "line 1 is empty"},
		"empty line at the end":  {"000Z\n", "000Z\n\n", "line 5 is empty"},
		"no time":                {"time 2026-10-02T08:15:31.000000000Z\n", "", "0 extension lines"},
		"another extension":      {"time ", "note ", "not the time"},
		"two extensions":         {"000Z\n", "000Z\nmore\n", "2 extension lines"},
		"time without decimals":  {".000000000Z", "Z", "RFC 3339"},
		"size with a zero":       {"\n42\n", "\n042\n", "shortest decimal form"},
		"negative size":          {"\n42\n", "\n-42\n", "shortest decimal form"},
		"size of many digits":    {"\n42\n", "\n18446744073709551616\n", "shortest decimal form"},
		"root too short":         {"SuFU=", "Su==", "32 octets in base64"},
		"root with stray bits":   {"SuFU=", "SuFV=", "32 octets in base64"},
		"root with a CR":         {"SuFU=", "SuFU=\r", "32 octets in base64"},
		"origin with a space":    {origin, "gate example", "without spaces"},
		"origin with a plus":     {origin, "gate+example", "without spaces"},
		"origin with control":    {origin, "gate\x01example", "without spaces"},
		"origin is not UTF-8":    {origin, "gate\xff", "without spaces"},
		"origin too long":        {origin, strings.Repeat("a", 256), "255 octets"},
		"empty log, wrong root":  {"\n42\n47DE", "\n0\n57DE", "SHA-256 of nothing"},
		"size and root in turns": {"42\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n42", "size"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, checkpointText, c.old)
			_, err := merkle.ParseCheckpoint(strings.ReplaceAll(checkpointText, c.old, c.new))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add(checkpointText)
	f.Add("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\ntime 0000-01-01T00:00:00.000000000Z\n")
	f.Fuzz(func(t *testing.T, text string) {
		checkpoint, err := merkle.ParseCheckpoint(text)
		if err == nil {
			require.NoError(t, checkpoint.Check())
			require.Equal(t, text, checkpoint.Text())
		}
	})
}

// sign signs without any memory: what a thief of the key could do.
func sign(t *testing.T, text string, signers ...note.Signer) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	require.NoError(t, err)
	return signed
}

// Holds: REC-06
func TestOpenCheckpointBelievesTheLogsKeyAlone(t *testing.T) {
	key, other, witness, stranger := logKey(t), logKey(t), witnessKey(t), witnessKey(t)
	at := time.Unix(1790000000, 0).UTC()
	good := sign(t, checkpointText, key, witness.Cosigner(at), stranger.Cosigner(at))
	checkpoint, cosigners, err := merkle.OpenCheckpoint(good, key.Verifier(), witness.Verifier())
	require.NoError(t, err)
	require.Equal(t, exampleCheckpoint(), checkpoint)
	require.Equal(t, []string{"witness.example.org/w1"}, cosigners, "the stranger's counts for nothing")

	foreign, err := merkle.GenerateLogKey("other.example")
	require.NoError(t, err)
	cases := map[string]struct {
		signed []byte
		want   string
	}{
		"nobody we know":             {sign(t, checkpointText, other), "no verifiable signatures"},
		"the witness alone":          {sign(t, checkpointText, witness.Cosigner(at)), "not signed by"},
		"changed size":               {bytes.Replace(good, []byte("\n42\n"), []byte("\n43\n"), 1), "invalid signature"},
		"another log's checkpoint":   {sign(t, strings.Replace(checkpointText, origin, "other.example", 1), key), "it is of other.example"},
		"no checkpoint":              {sign(t, "something\n", key), "less than three lines"},
		"not signed":                 {[]byte(checkpointText), "malformed note"},
		"larger than any checkpoint": {append(good, bytes.Repeat([]byte("x"), merkle.MaxSignedCheckpoint)...), "more than 65536"},
		"cut":                        {good[:len(good)-3], "malformed note"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := merkle.OpenCheckpoint(c.signed, key.Verifier(), witness.Verifier())
			require.ErrorContains(t, err, c.want)
		})
	}
	_, _, err = merkle.OpenCheckpoint(sign(t, checkpointText, foreign), foreign.Verifier())
	require.ErrorContains(t, err, "signed by other.example")
}

func TestKeysComeBackFromTheirFiles(t *testing.T) {
	dir := t.TempDir()
	key, witness := logKey(t), witnessKey(t)
	require.NoError(t, key.Save(filepath.Join(dir, "log")))
	require.NoError(t, witness.Save(filepath.Join(dir, "witness")))
	loaded, err := merkle.LoadLogKey(filepath.Join(dir, "log"))
	require.NoError(t, err)
	require.Equal(t, key, loaded)
	cosigner, err := merkle.LoadWitnessKey(filepath.Join(dir, "witness"))
	require.NoError(t, err)
	require.Equal(t, witness, cosigner)

	// The files are those of the field: the note package reads the log's, private and public.
	private, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	signer, err := note.NewSigner(strings.TrimSuffix(string(private), "\n"))
	require.NoError(t, err)
	public, err := os.ReadFile(filepath.Join(dir, "log.pub"))
	require.NoError(t, err)
	verifier, err := note.NewVerifier(strings.TrimSuffix(string(public), "\n"))
	require.NoError(t, err)
	_, _, err = merkle.OpenCheckpoint(sign(t, checkpointText, signer), key.Verifier())
	require.NoError(t, err)
	_, _, err = merkle.OpenCheckpoint(sign(t, checkpointText, loaded), verifier)
	require.NoError(t, err)

	require.ErrorContains(t, key.Save(filepath.Join(dir, "log")), "exists")
	_, err = merkle.LoadWitnessKey(filepath.Join(dir, "log"))
	require.ErrorContains(t, err, "has type 1 and not 4")
	_, err = merkle.LoadLogKey(filepath.Join(dir, "witness"))
	require.ErrorContains(t, err, "has type 4 and not 1")
	_, err = merkle.LoadLogKey(filepath.Join(dir, "absent"))
	require.ErrorContains(t, err, "no such file")
	_, err = merkle.GenerateLogKey("a b")
	require.ErrorContains(t, err, "without spaces")
	_, err = merkle.GenerateWitnessKey("")
	require.ErrorContains(t, err, "1 to 255 octets")
}

func TestKeyFilesOfOthersOrOfAnotherFormAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, logKey(t).Save(path))
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = merkle.LoadLogKey(path)
		require.ErrorContains(t, err, "must be its owner's alone")
	}
	require.NoError(t, os.Chmod(path, 0o600))
	cases := map[string]struct{ old, new, want string }{
		"public key":      {"PRIVATE+KEY+", "", "does not begin"},
		"empty":           {string(good), "", "does not begin"},
		"another name":    {origin, "other.example", "its identifier is"},
		"name with space": {origin, "other example", "without spaces"},
		"cut":             {string(good[len(good)-9:]), "", "Ed25519 seed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, string(good), c.old)
			require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(good), c.old, c.new, 1)), 0o600))
			_, err := merkle.LoadLogKey(path)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), string(good[60:80]), "no part of the secret is shown")
		})
	}
}

// The verifier key and the cosigned checkpoint are made by hand here, from C2SP tlog-cosignature alone.
func TestC2SP_CosignatureForm(t *testing.T) {
	witness := witnessKey(t)
	at := time.Unix(1679315147, 999).UTC()
	signed := sign(t, checkpointText, witness.Cosigner(at))
	verifier, err := merkle.NewWitnessVerifier(witness.VerifierKey())
	require.NoError(t, err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	require.NoError(t, err)
	cosigned, err := merkle.CosignedAt(opened.Sigs[0])
	require.NoError(t, err)
	require.Equal(t, at.Truncate(time.Second), cosigned)

	raw, err := base64.StdEncoding.DecodeString(opened.Sigs[0].Base64)
	require.NoError(t, err)
	require.Len(t, raw, 4+8+64)
	require.Equal(t, []byte{0, 0, 0, 0, 0x64, 0x18, 0x50, 0xcb}, raw[4:12], "the time, big-endian")
	require.True(t, ed25519Verify(t, witness.VerifierKey(), "cosignature/v1\ntime 1679315147\n"+checkpointText, raw[12:]))

	zero := append(make([]byte, 8), raw[12:]...)
	require.False(t, verifier.Verify([]byte(checkpointText), zero), "no time")
	require.False(t, verifier.Verify([]byte(checkpointText), raw[5:]), "too short")
	later := append([]byte{0, 0, 0, 0, 0x64, 0x18, 0x50, 0xcc}, raw[12:]...)
	require.False(t, verifier.Verify([]byte(checkpointText), later), "the time is signed")
	_, err = note.Sign(&note.Note{Text: checkpointText}, witness.Cosigner(time.Time{}))
	require.ErrorContains(t, err, "after 1970")
	_, err = merkle.CosignedAt(note.Signature{Base64: "AAAA"})
	require.ErrorContains(t, err, "not a key identifier")
}

func TestWitnessKeysOfAnotherFormAreRefused(t *testing.T) {
	good := witnessKey(t).VerifierKey()
	name, rest, _ := strings.Cut(good, "+")
	hash, public, _ := strings.Cut(rest, "+")
	for label, c := range map[string]struct{ text, want string }{
		"a log's key": {"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", // C2SP signed-note's example
			"it has type 1, and a witness's has 4"},
		"empty":              {"", "not name+identifier+base64"},
		"no base64":          {name + "+" + hash + "+!", "not name+identifier+base64"},
		"no name":            {"+" + hash + "+" + public, "1 to 255 octets"},
		"wrong identifier":   {name + "+00000000+" + public, "its identifier is not " + hash},
		"another's name":     {"other.example+" + hash + "+" + public, "its identifier is not"},
		"identifier in caps": {name + "+" + strings.ToUpper(hash) + "x+" + public, "its identifier is not"},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := merkle.NewWitnessVerifier(c.text)
			require.ErrorContains(t, err, c.want)
		})
	}
}

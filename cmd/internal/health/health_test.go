package health

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckBelievesNothingButA200OfTheServerItself(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/readyz", http.StatusFound) })
	mux.HandleFunc("/ill", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	secure, plain := httptest.NewTLSServer(mux), httptest.NewServer(mux)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	dir := t.TempDir()
	ca, none := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "none.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	require.NoError(t, os.WriteFile(none, []byte("no certificate"), 0o600))
	for name, c := range map[string]struct{ url, ca, why string }{
		"well":                  {secure.URL + "/readyz", ca, ""},
		"well over plain HTTP":  {plain.URL + "/readyz", "", ""},
		"ill":                   {secure.URL + "/ill", ca, "503"},
		"elsewhere":             {secure.URL + "/away", ca, "302"},
		"not trusted":           {secure.URL + "/readyz", "", "certificate"},
		"nobody":                {"http://127.0.0.1:1/readyz", "", "refused"},
		"no URL":                {"localhost:8443", "", "is no http or https URL"},
		"no CA file":            {secure.URL + "/readyz", filepath.Join(dir, "absent"), "no such file"},
		"a CA file without one": {secure.URL + "/readyz", none, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(t.Context(), c.url, c.ca)
			if c.why == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.why)
		})
	}
}

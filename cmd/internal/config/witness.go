package config

import (
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// WitnessServer is the configuration of a witness, witness.yaml.
type WitnessServer struct {
	// Listen is the address and port where logs ask.
	Listen string `yaml:"listen"`
	// TLS is the certificate and key of the channel. Without it the witness speaks plain HTTP: what it takes and what it
	// gives is signed.
	TLS *Pair `yaml:"tls"`
	// State is the directory with what was cosigned.
	State string `yaml:"state"`
	// Key is the file of the key that cosigns.
	Key string `yaml:"key"`
	// Logs are those whose checkpoints are cosigned.
	Logs []WitnessedLog `yaml:"logs"`
	Log  Log            `yaml:"log"`
}

// WitnessedLog is a log and its pinned key.
type WitnessedLog struct {
	// Origin is the first line of the log's checkpoints.
	Origin string `yaml:"origin"`
	// Key is the log's verifier key: name+identifier+base64.
	Key string `yaml:"key"`
}

// LoadWitness reads a witness's configuration, as LoadGate a gate's.
func LoadWitness(file string) (WitnessServer, error) {
	var w WitnessServer
	d, err := load(file, &w)
	if err != nil {
		return WitnessServer{}, err
	}
	return d.witness(w)
}

// ParseWitness is to LoadWitness what ParseGate is to LoadGate.
func ParseWitness(file string, text []byte) (WitnessServer, error) {
	var w WitnessServer
	d, err := parse(file, text, &w)
	if err != nil {
		return WitnessServer{}, err
	}
	return d.witness(w)
}

func (d *document) witness(w WitnessServer) (WitnessServer, error) {
	d.require("", "listen", "state", "key", "logs")
	d.address("listen", w.Listen)
	if w.TLS != nil {
		d.pair("tls", w.TLS)
	}
	w.State, w.Key = d.path(w.State), d.path(w.Key)
	if d.has("logs") && len(w.Logs) == 0 {
		d.refuse("logs", "", "one log at least is needed")
	}
	origins := map[string]bool{}
	for i, l := range w.Logs {
		field := fmt.Sprintf("logs[%d]", i)
		d.require(field, "origin", "key")
		if d.has(field+".origin") && (l.Origin == "" || len(l.Origin) > 255 || strings.ContainsAny(l.Origin, "\r\n")) {
			d.refuse(field+".origin", "", "an origin is one line of 1 to 255 octets")
		}
		if d.has(field + ".key") {
			if _, err := note.NewVerifier(l.Key); err != nil {
				d.refuse(field+".key", "", "the log's verifier key is needed, name+identifier+base64 (%v)", err)
			}
		}
		if origins[l.Origin] {
			d.refuse(field+".origin", "", "%q is there already", l.Origin)
		}
		origins[l.Origin] = true
	}
	d.log(w.Log)
	return w, d.err()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// site is where a remote stands beyond those of `quorate init`: 500 km and more from all others.
type site struct {
	name, region string
	lat, long    float64
}

var more = [15]site{{"mumbai", "APNIC", 19.08, 72.88}, {"tokyo", "APNIC", 35.68, 139.69}, {"sydney", "APNIC", -33.87, 151.21}, {"seoul", "APNIC", 37.57, 126.98},
	{"dallas", "ARIN", 32.78, -96.80}, {"seattle", "ARIN", 47.61, -122.33}, {"toronto", "ARIN", 43.65, -79.38}, {"miami", "ARIN", 25.76, -80.19},
	{"santiago", "LACNIC", -33.45, -70.67}, {"bogota", "LACNIC", 4.71, -74.07}, {"nairobi", "AFRINIC", -1.29, 36.82}, {"lagos", "AFRINIC", 6.52, 3.38},
	{"cairo", "AFRINIC", 30.04, 31.24}, {"madrid", "RIPE NCC", 40.42, -3.70}, {"warsaw", "RIPE NCC", 52.23, 21.01}}

// allSites are primary and remotes, as many as there can be.
var allSites = [len(sites) + len(more)]struct{}{}

// grow adds remotes until there are n. `quorate init` makes five at a time; each further five are taken from one of their own.
func (o *ours) grow(ctx context.Context, n int) error {
	gate, err := o.gateKey()
	if err != nil {
		return err
	}
	for batch := 1; len(o.names) < n; batch++ {
		dir := fmt.Sprintf("%s.%d", o.dir, batch)
		if _, err := command(ctx, "", filepath.Join(o.stage.Dir, "quorate"), "init", dir, "--issuer", issuer, "--templates", o.dir+".templates"); err != nil {
			return err
		}
		keys, err := os.ReadFile(filepath.Join(dir, "gate", "quorate.yaml"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(keys)) {
			if strings.HasPrefix(line, "  - {name: ") && len(o.names) < n {
				if err := o.add(dir, gate, line); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// add takes a remote of another init, whose line in the roster there is given.
func (o *ours) add(dir, gate, line string) error {
	old, err := between(line, "name: ", ",")
	tlsKey, tlsErr := between(line, `tls_key: "`, `"`)
	signingKey, signingErr := between(line, `signing_key: "`, `"`)
	if err := errors.Join(err, tlsErr, signingErr); err != nil {
		return err
	}
	i, s := len(o.names)+1, more[len(o.names)+1-len(sites)]
	to := filepath.Join(o.dir, "perspectives", s.name)
	if err := os.Rename(filepath.Join(dir, "perspectives", old), to); err != nil {
		return err
	}
	file := filepath.Join(to, "perspective.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	stranger, err := between(string(text), `tls_key: "`, `"`)
	if err != nil {
		return err
	}
	if err := edit(file, "name: "+old, "name: "+s.name, stranger, gate); err != nil {
		return err
	}
	o.names, o.at = append(o.names[:len(o.names):len(o.names)], s.name), append(o.at, o.remote(i))
	entry := fmt.Sprintf("  - {name: %s, title: %s, url: \"https://%s\", region: %s, latitude: %v, longitude: %v, tls_key: %q, signing_key: %q}\n", s.name, s.name, o.remote(i),
		s.region, s.lat, s.long, tlsKey, signingKey)
	if err := edit(filepath.Join(o.dir, "gate", "quorate.yaml"), "source_address: ", entry+"source_address: "); err != nil {
		return err
	}
	return o.place(i, s.name)
}

// gateKey is what the remotes know the gate by.
func (o *ours) gateKey() (string, error) {
	text, err := os.ReadFile(filepath.Join(o.dir, "perspectives", o.names[0], "perspective.yaml"))
	if err != nil {
		return "", err
	}
	return between(string(text), `tls_key: "`, `"`)
}

func between(text, before, after string) (string, error) {
	_, rest, ok := strings.Cut(text, before)
	got, _, also := strings.Cut(rest, after)
	if !ok || !also {
		return "", fmt.Errorf("there is no %q in:\n%s", before, text)
	}
	return got, nil
}

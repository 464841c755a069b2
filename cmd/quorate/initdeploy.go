package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// begin tells whether everything is there already and is to be kept. It refuses a directory with a file in it: directories
// alone may be there, where volumes are mounted.
func (c initCmd) begin() (done bool, err error) {
	if _, err := os.Stat(filepath.Join(c.Dir, "gate", "quorate.yaml")); err == nil && c.Keep { // it is written last
		return true, nil
	}
	err = filepath.WalkDir(c.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			return fmt.Errorf("%s is not empty, and nothing is overwritten: there is %s", c.Dir, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, err
}

// template gives the text of a template: the one in --templates, or else the built-in one.
func (c initCmd) template(name, builtIn string) (string, error) {
	if c.Templates == "" {
		return builtIn, nil
	}
	text, err := os.ReadFile(filepath.Join(c.Templates, name))
	if err != nil {
		return "", fmt.Errorf("--templates: %w", err)
	}
	return string(text), nil
}

// writePasswords makes those of a PostgreSQL server. The gate's own copy stands apart: who runs the gate must not have the
// owner's, with which records could be changed (REC-06). The others are for the group, so that a server of another user can
// read them.
func (c initCmd) writePasswords() error {
	dir := filepath.Join(c.Dir, "database")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, name := range []string{"superuser", "owner", "gate"} {
		raw := make([]byte, 32)
		rand.Read(raw) // crypto/rand.Read returns no error: it ends the program instead
		password := []byte(base64.RawURLEncoding.EncodeToString(raw) + "\n")
		if err := writeNew(filepath.Join(dir, name+"-password"), password, 0o640); err != nil {
			return err
		}
		if name != "gate" {
			continue
		}
		if err := writeNew(filepath.Join(c.Dir, "gate", "database-password"), password, 0o600); err != nil {
			return err
		}
	}
	return nil
}

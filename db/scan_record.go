package db

import (
	"context"
	"fmt"
)

// record reads one attempt in the view, without the DNS records that its proofs rest on.
func (s *scan) record(ctx context.Context, number int64) (Record, error) {
	all, err := s.folders(ctx, number, number+1)
	if err != nil {
		return Record{}, err
	}
	if all[0] == nil || all[0].attempt == nil {
		return Record{}, fmt.Errorf("record %d: %w", number, ErrNotFound)
	}
	return all[0].read()
}

// read checks and decodes the documents of a folder that has an attempt.
func (f *folder) read() (Record, error) {
	filed, err := f.filed()
	if err != nil {
		return Record{}, fmt.Errorf("record %d: %w", f.number, err)
	}
	r, err := filed.Read()
	if err != nil {
		return Record{}, fmt.Errorf("record %d: %w", f.number, err)
	}
	return r, nil
}

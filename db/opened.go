package db

import (
	"crypto/sha256"
	"sync"
)

// maxOpened bounds the memory of attempts that were opened here, twice: what is forgotten is read from the database again.
const maxOpened = 4096

// openedAttempt is what stands in the database of an attempt that this process opened. None of it is ever changed there (REC-06).
type openedAttempt struct {
	number int64
	// intent is the line and digest of the attempt's document; text is the digest of the text that it was made from, with its token, and
	// token that of the token, which may be as long as a request.
	intent      reference
	gate        string
	text, token [sha256.Size]byte
}

// openedAttempts are those that were opened last, by their identifiers.
type openedAttempts struct {
	mu            sync.Mutex
	newer, before map[string]openedAttempt
}

func (o *openedAttempts) find(id string) (openedAttempt, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a, ok := o.newer[id]; ok {
		return a, true
	}
	a, ok := o.before[id]
	return a, ok
}

// add is for an attempt whose transaction was committed.
func (o *openedAttempts) add(id string, a openedAttempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.newer) >= maxOpened {
		o.newer, o.before = nil, o.newer
	}
	if o.newer == nil {
		o.newer = map[string]openedAttempt{}
	}
	o.newer[id] = a
}

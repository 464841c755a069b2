package db

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxDocument bounds what a stored document may unpack to, in bytes: a reply has at most 4 MiB, and a roster dozens of them.
const maxDocument = 256 << 20

// document is what is kept: bytes, and the digest of exactly these bytes. They are made once and never made again. The bytes are
// a zstd frame (RFC 8878) over a JSON text: the perspectives of an attempt see much the same, and packed it is a tenth.
type document struct {
	bytes  []byte
	sha256 string
	// secrets are kept beside the document and are no part of what is hashed.
	secrets []byte
}

// secrets are the values that stand in a document's text as commitments: "[sha256:...]", the SHA-256 of salt and value. A
// document is shown to others without them, and its digest holds all the same.
type secrets struct {
	// Salt is 16 random bytes in hexadecimal; they go into each commitment in front of the value.
	Salt string `json:"salt"`
	// Values are the values taken out; none where a configuration keeps tokens as digests only.
	Values []string `json:"values,omitempty"`
}

func newSalt() string {
	salt := make([]byte, 16)
	rand.Read(salt) // crypto/rand.Read returns no error: it ends the program instead
	return hex.EncodeToString(salt)
}

func (s secrets) commitment(value string) string {
	sum := sha256.Sum256([]byte(s.Salt + value))
	return "[sha256:" + hex.EncodeToString(sum[:]) + "]"
}

// maskable tells a token as RFC 8555 has it: its text in JSON is its own. A request with another is refused, and nothing is secret
// about it.
func maskable(token string) bool {
	for _, c := range []byte(token) {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return len(token) >= 16
}

// mask appends a JSON text to b, with commitments in the place of the strings that are values, and of the token wherever else it stands.
func (s secrets) mask(b, text []byte, token string) []byte {
	from := 0
	if len(s.Values) > 1 || len(s.Values) == 1 && s.Values[0] != token {
		values := map[string]bool{}
		for _, v := range s.Values {
			values[v] = true
		}
		eachString(text, func(start, end int) {
			if literal := text[start:end]; values[string(literal)] {
				b = append(s.replace(b, text[from:start], token), s.commitment(string(literal))...)
				from = end
			}
		})
	}
	return s.replace(b, text[from:], token)
}

func (s secrets) replace(b, text []byte, token string) []byte {
	value, commitment := []byte(token), ""
	for {
		i := bytes.Index(text, value)
		if i < 0 {
			return append(b, text...)
		}
		if commitment == "" {
			commitment = s.commitment(token)
		}
		b = append(append(b, text[:i]...), commitment...)
		text = text[i+len(value):]
	}
}

// reveal is the inverse of mask, for the values that are kept. It is an error where one of them was not taken out of the text, or where
// they come to more than so many octets.
func (s secrets) reveal(text []byte, most int) ([]byte, error) {
	values, used := map[string]string{}, map[string]bool{}
	for _, v := range s.Values {
		values[s.commitment(v)] = v
	}
	const size = len("[sha256:]") + 2*sha256.Size
	out := make([]byte, 0, len(text))
	for {
		i := bytes.Index(text, []byte("[sha256:"))
		if i < 0 || len(text) < i+size {
			out = append(out, text...)
			break
		}
		out = append(out, text[:i]...)
		name := string(text[i : i+size])
		if v, ok := values[name]; ok {
			out, text, used[name] = append(out, v...), text[i+size:], true
		} else {
			out, text = append(out, text[i]), text[i+1:]
		}
		if len(out) > most {
			return nil, errors.New("the values that were taken out of it are too long")
		}
	}
	if len(used) != len(values) {
		return nil, errors.New("a value beside the document is none that was taken out of it")
	}
	return out, nil
}

// sealer makes documents.
type sealer struct {
	// digestsOnly leaves the secrets' values out.
	digestsOnly bool
}

// texter is a value that writes its own JSON text: that of json.Marshal, in one pass.
type texter interface {
	appendText(b []byte) ([]byte, error)
}

// seal makes the document of a value, in whose text the token is a commitment, and so is each string that holds it in another form; empty for
// none. It refuses a text that would still show it.
func (s sealer) seal(v any, token string) (document, error) {
	if t, ok := v.(texter); ok {
		b := takeBuffer()
		defer giveBuffer(b)
		text, err := t.appendText(*b)
		*b = text[:0]
		if err != nil {
			return document{}, fmt.Errorf("db: the record cannot be written as JSON: %w", err)
		}
		return s.sealText(text, token)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return document{}, fmt.Errorf("db: the record cannot be written as JSON: %w", err)
	}
	return s.sealText(text, token)
}

func (s sealer) sealText(text []byte, token string) (document, error) {
	if !maskable(token) {
		return pack(text, nil), nil
	}
	look := newLook(token)
	plain, otherwise := look.at(text)
	if !plain && !otherwise {
		return pack(text, nil), nil
	}
	hidden := secrets{Salt: newSalt(), Values: []string{token}}
	if otherwise {
		if hidden.Values = concealed(text, token); len(hidden.Values) == 0 {
			return pack(text, nil), nil
		}
	}
	b := takeBuffer()
	defer giveBuffer(b)
	masked := hidden.mask(*b, text, token)
	*b = masked[:0]
	if plain, otherwise := look.at(masked); (plain || otherwise) && exposes(masked, token) {
		return document{}, errors.New("db: the record's text holds a token in a form that cannot be taken out")
	}
	// Only a text that guessed the salt does not come back. Without the beginning of a commitment in it, all that there are were put in.
	if otherwise || bytes.Contains(text, []byte("[sha256:")) {
		if whole, err := hidden.reveal(masked, maxDocument); err != nil || !bytes.Equal(whole, text) {
			return document{}, errors.Join(errors.New("db: the record's text holds its own commitments"), err)
		}
	}
	if s.digestsOnly {
		hidden.Values = nil
	}
	beside, err := json.Marshal(hidden)
	if err != nil {
		return document{}, err
	}
	return pack(masked, beside), nil
}

func pack(text, beside []byte) document {
	b := takeBuffer()
	defer giveBuffer(b)
	packed := encoder().EncodeAll(text, *b)
	*b = packed[:0]
	packed = bytes.Clone(packed)
	return document{bytes: packed, sha256: digest(packed), secrets: beside}
}

// Texts are of tens of kilobytes, and gone when they are packed: their memory is used again.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func takeBuffer() *[]byte { return buffers.Get().(*[]byte) }

// giveBuffer keeps no memory of a record that was much longer than the others.
func giveBuffer(b *[]byte) {
	const most = 1 << 20
	if cap(*b) <= most {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// One encoder and one decoder serve all: EncodeAll and DecodeAll may be called concurrently, and each keeps its tables.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(4), zstd.WithEncoderCRC(false))
		if err != nil { // the options are constants
			panic(err)
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		// Text allocates as much as the frame says, and a second frame behind it finds no room.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(4), zstd.WithDecoderMaxMemory(maxDocument), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Document is stored bytes with the digest that was stored beside them; reading has found that they agree.
type Document struct {
	// Bytes are a zstd frame over a JSON text.
	Bytes []byte
	// SHA256 is in hexadecimal; empty where there is no document.
	SHA256 string
	// Leaf is the line of the log that holds the digest.
	Leaf int64
	// Secrets is a JSON text with what was taken out of the document; empty where nothing was.
	Secrets []byte
}

// unpacked is how many octets a document's text has at most, by its frame's header; Text holds it to that.
func (d Document) unpacked() (int, error) {
	var h zstd.Header
	switch err := h.Decode(d.Bytes); {
	case err != nil:
		return 0, fmt.Errorf("%w: the document is no zstd frame: %w", ErrDamaged, err)
	case h.FrameContentSize > maxDocument:
		return 0, fmt.Errorf("%w: the document unpacks to %d octets, and %d is the most", ErrDamaged, h.FrameContentSize, maxDocument)
	case !h.HasFCS:
		return 255, nil // the encoder leaves the length of the shortest texts out
	}
	return int(h.FrameContentSize), nil
}

// Text gives the JSON text that a document's bytes unpack to, with commitments in the place of tokens.
func (d Document) Text() ([]byte, error) {
	size, err := d.unpacked()
	if err != nil {
		return nil, err
	}
	text, err := decoder().DecodeAll(d.Bytes, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%w: the document cannot be unpacked: %w", ErrDamaged, err)
	}
	return text, nil
}

// Revealed gives the JSON text with the tokens in their places, as far as they are kept.
func (d Document) Revealed() ([]byte, error) {
	text, err := d.Text()
	if err != nil || len(d.Secrets) == 0 {
		return text, err
	}
	var s secrets
	if err := json.Unmarshal(d.Secrets, &s); err != nil {
		return nil, fmt.Errorf("%w: what was taken out of the document cannot be read: %w", ErrDamaged, err)
	}
	if text, err = s.reveal(text, maxDocument); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return text, nil
}

// masked gives another text with the same commitments as the document's: equal to its Text exactly when it is the same text.
func (d Document) masked(text []byte, token string) ([]byte, error) {
	if len(d.Secrets) == 0 {
		return text, nil
	}
	var s secrets
	if err := json.Unmarshal(d.Secrets, &s); err != nil {
		return nil, fmt.Errorf("%w: what was taken out of the document cannot be read: %w", ErrDamaged, err)
	}
	if s.Values = concealed(text, token); len(s.Values) == 0 {
		return text, nil
	}
	return s.mask(nil, text, token), nil
}

// commits tells whether a text is what stands in the document in the place of a value.
func (d Document) commits(value, text string) bool {
	var s secrets
	return len(d.Secrets) > 0 && json.Unmarshal(d.Secrets, &s) == nil && s.commitment(value) == text
}

// Withheld tells whether values were taken out of the document that are not kept beside it.
func (d Document) Withheld() bool {
	var s secrets
	return len(d.Secrets) > 0 && (json.Unmarshal(d.Secrets, &s) != nil || len(s.Values) == 0)
}

// check finds bytes that do not have the stored digest.
func (d Document) check(what string) error {
	if digest(d.Bytes) != d.SHA256 {
		return fmt.Errorf("%w: the document of the %s", ErrDamaged, what)
	}
	return nil
}

// decode reads the revealed text into v.
func (d Document) decode(v any, what string) error {
	text, err := d.Revealed()
	if err == nil {
		text = readable(text)
		if c, ok := v.(*closing); ok && c.read(text) {
			return nil
		}
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("the document of the %s: %w", what, err)
	}
	return nil
}

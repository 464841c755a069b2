package va

import (
	"math"

	"github.com/quorate/quorate/va/internal/jsonread"
	"github.com/quorate/quorate/va/resolver"
)

// readPlain reads a report whose text is the one that MarshalJSON writes, member for member, and in which nothing has to be escaped but
// quotation marks, backslashes, tabs and the ends of lines: false is for all others, which may be reports all the same. The strings of what it gives
// are parts of the text.
func readPlain(text string) (*keptReport, bool) {
	k := new(keptReport)
	r := jsonread.NewReader(text)
	r.Object(func() { k.read(r) })
	return k, r.Plain()
}

func (k *keptReport) read(r *jsonread.Reader) {
	r.Name("perspective")
	k.Perspective = r.String()
	r.Name("software")
	k.Software = r.String()
	r.Name("attempt")
	k.Attempt = r.String()
	r.Name("nonce")
	k.Nonce = r.String()
	r.Name("digest")
	k.Digest = r.String()
	r.Name("started")
	k.Started = r.Time()
	r.Name("finished")
	k.Finished = r.Time()
	r.Name("resolver")
	k.Resolver.Read(r)
	r.Name("dcv")
	r.Object(func() { k.DCV.read(r) })
	r.Name("caa")
	r.Object(func() { k.CAA.read(r) })
	k.ReadMembers(r)
}

func (f *keptDCV) read(r *jsonread.Reader) {
	r.Name("outcome")
	r.Term(&f.Outcome)
	f.Problem = readProblem(r)
	r.Name("queried")
	f.Queried = r.String()
	f.Observed = r.StringMember("observed")
	f.Fetches = jsonread.ElementsMember(r, "fetches", readFetch)
	f.Handshakes = jsonread.ElementsMember(r, "handshakes", readHandshake)
	r.Name("started")
	f.Started = r.Time()
	r.Name("finished")
	f.Finished = r.Time()
	f.Lookups = jsonread.ElementsMember(r, "lookups", (*resolver.Kept).Read)
}

func (f *keptCAA) read(r *jsonread.Reader) {
	r.Name("outcome")
	r.Term(&f.Outcome)
	f.Problem = readProblem(r)
	r.Name("name")
	f.Name = r.String()
	f.Found = r.StringMember("found")
	f.Records = r.StringsMember("records")
	f.Permits = r.StringMember("permits")
	r.Name("ttl")
	f.TTL = uint32(r.Int(math.MaxUint32))
	r.Name("fresh_until")
	f.FreshUntil = r.Time()
	r.Name("started")
	f.Started = r.Time()
	r.Name("finished")
	f.Finished = r.Time()
	f.Lookups = jsonread.ElementsMember(r, "lookups", (*resolver.Kept).Read)
	f.Failures = jsonread.ElementsMember(r, "failures", (*keptFailure).read)
}

func (f *keptFailure) read(r *jsonread.Reader) {
	r.Object(func() {
		r.Name("name")
		f.Name = r.String()
		r.Name("retry")
		f.Retry.Read(r)
		r.Name("ds")
		f.DS.Read(r)
		r.Name("control")
		f.Control.Read(r)
	})
}

func readProblem(r *jsonread.Reader) *Problem {
	if !r.Has("problem") {
		return nil
	}
	p := new(Problem)
	r.Object(func() {
		r.Name("code")
		p.Code = r.String()
		r.Name("detail")
		p.Detail = r.String()
		p.Rules = r.StringsMember("rules")
		p.Field = r.StringMember("field")
		p.Name = r.StringMember("name")
		p.Type = r.StringMember("type")
		p.URL = r.StringMember("url")
		p.Address = r.StringMember("address")
	})
	return p
}

func readFetch(f *Fetch, r *jsonread.Reader) {
	r.Object(func() {
		r.Name("url")
		f.URL = r.String()
		f.Address = r.StringMember("address")
		f.Considered = r.StringsMember("considered")
		f.Status = int(r.IntMember("status", math.MaxInt))
		f.Location = r.StringMember("location")
		f.ContentType = r.StringMember("content_type")
		f.Bytes = int(r.IntMember("bytes", math.MaxInt))
		f.Body = r.StringMember("body")
		f.Certificate = r.StringMember("certificate")
		r.Name("ms")
		f.Milliseconds = r.Float()
		f.Error = r.StringMember("error")
	})
}

func readHandshake(h *Handshake, r *jsonread.Reader) {
	r.Object(func() {
		r.Name("address")
		h.Address = r.String()
		h.Considered = r.StringsMember("considered")
		r.Name("server_name")
		h.ServerName = r.String()
		h.Version = r.StringMember("version")
		h.Protocol = r.StringMember("protocol")
		h.Certificates = r.StringsMember("certificates")
		h.Names = r.StringsMember("names")
		r.Name("ms")
		h.Milliseconds = r.Float()
		h.Error = r.StringMember("error")
	})
}

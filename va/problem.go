package va

// Problem says why a check did not pass, to a machine and to a subscriber.
type Problem struct {
	// Code is stable: clients and auditors may rely on it. Lower case, the area before the dot: "dns.", "dnssec.", "name.",
	// "http.", "tls.", "txt.", "address.", "caa.", "request.", "perspective.", "quorum.", "roster.", "policy.".
	Code string `json:"code"`
	// Detail is one or two sentences that a subscriber understands: what was looked for, where, and what was there.
	Detail string `json:"detail"`
	// Rules are the ids of docs/requirements.tsv that refuse here, for example "DCV-16".
	Rules []string `json:"rules,omitempty"`
	// Field is the field of the Request that is refused, by its JSON name, where Admit refuses one.
	Field string `json:"field,omitempty"`
	// Name and Type are the DNS question concerned, if one is.
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
	// URL is the HTTP request concerned, if one is.
	URL string `json:"url,omitempty"`
	// Address is the IP address and port concerned, if one is.
	Address string `json:"address,omitempty"`
}

// Error gives code and detail, so that a Problem can travel as an error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

package api

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// ShieldStatus is the packet filter in front of ingress, a part of NetworkStatus.
type ShieldStatus struct {
	// Mode is the configured one: "auto", "native", "generic", "off".
	Mode       string            `json:"mode"`
	Interfaces []ShieldInterface `json:"interfaces"`
	// Problem says why it protects less than it could; "" if nothing is wrong.
	Problem string `json:"problem,omitempty"`

	// Cookies tells whose cookies answer SYNs: "own", which nodes with the same key accept from
	// each other, or "kernel", which carry the MSS only; CookiesReason is why not "own".
	Cookies       string `json:"cookies"`
	CookiesReason string `json:"cookies_reason,omitempty"`
	SharedKey     bool   `json:"shared_key"`

	SYNs   ShieldPressure `json:"syns"`   // SYNs for served ports
	Strays ShieldPressure `json:"strays"` // segments of unknown connections

	Verdicts []ShieldVerdict `json:"verdicts"`
	Listed   int             `json:"listed"` // prefixes on the block and allow lists
}

// ShieldInterface is the state of the shield on one interface.
type ShieldInterface struct {
	Name    string `json:"name"`
	Mode    string `json:"mode"`   // the current one; "off": packets pass unfiltered
	Admits  bool   `json:"admits"` // returned cookies are handed to listeners
	Problem string `json:"problem,omitempty"`
}

// ShieldPressure compares the rate of one kind of packet with its limit.
type ShieldPressure struct {
	On    bool    `json:"on"`
	Left  Seconds `json:"left_seconds,omitempty"` // until it ends, if no more packets come
	Peak  float64 `json:"peak"`                   // packets per second
	Limit float64 `json:"limit"`                  // packets per second
}

// ShieldVerdict counts the packets with one verdict.
type ShieldVerdict struct {
	Verdict string `json:"verdict"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// ShieldTop lists the noisiest sources, the worst first: GET /v1/shield/top?n=20.
type ShieldTop struct {
	Noisy   []ShieldNoisy  `json:"noisy"`   // dropped or answered; a forged address says nothing about the sender
	Openers []ShieldOpener `json:"openers"` // opened connections, so their address is verified
}

// ShieldNoisy is a noisy source prefix.
type ShieldNoisy struct {
	Prefix  netip.Prefix `json:"prefix"`
	Packets uint64       `json:"packets"` // estimated from a sample
	Bytes   uint64       `json:"bytes"`
	Last    string       `json:"last"` // verdict
	Seen    time.Time    `json:"seen,omitzero"`
}

// ShieldOpener is a source prefix that opened connections.
type ShieldOpener struct {
	Prefix      netip.Prefix `json:"prefix"`
	Connections uint64       `json:"connections"`
	Limited     bool         `json:"limited"`
	Seen        time.Time    `json:"seen,omitzero"`
}

// ShieldEntry is a prefix on the block or the allow list. POST /v1/shield/list adds one that
// survives restarts and reboots, and replaces an entry for the same prefix; its answer is the entry
// as stored.
type ShieldEntry struct {
	Prefix  netip.Prefix `json:"prefix"`
	Allowed bool         `json:"allowed,omitempty"` // else blocked
	Until   time.Time    `json:"until,omitzero"`    // zero: permanent
	Reason  string       `json:"reason,omitempty"`
	// Source is "command" or the file that lists it; set by the server.
	Source string `json:"source,omitempty"`
}

// ShieldLists is both lists, unordered: GET /v1/shield/lists.
type ShieldLists struct {
	Entries []ShieldEntry `json:"entries"`
}

// ShieldUnlist removes the entry of exactly this prefix: POST /v1/shield/unlist, which answers
// ShieldUnlisted.
type ShieldUnlist struct {
	Prefix netip.Prefix `json:"prefix"`
}

// ShieldUnlisted tells whether there was an entry.
type ShieldUnlisted struct {
	Removed bool `json:"removed"`
}

// ShieldMode is the body of POST /v1/shield/mode, which answers NetworkStatus. The mode lasts until
// the next restart or reload of anymx-net.
type ShieldMode struct {
	Mode string `json:"mode"` // "auto", "native", "generic", "off"
}

// List returns the name of the list that e is on.
func (e ShieldEntry) List() string {
	if e.Allowed {
		return "allowed"
	}
	return "blocked"
}

// Sort orders the entries by address. The longest prefix of an address, which is the one that
// decides, comes first.
func (l ShieldLists) Sort() {
	slices.SortFunc(l.Entries, func(a, b ShieldEntry) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()))
	})
}

// Holding returns the entries that contain all of p. The longest, which decides, comes first.
func (l ShieldLists) Holding(p netip.Prefix) ShieldLists {
	var held ShieldLists
	for _, e := range l.Entries {
		if e.Prefix.Bits() <= p.Bits() && e.Prefix.Contains(p.Addr()) {
			held.Entries = append(held.Entries, e)
		}
	}
	slices.SortFunc(held.Entries, func(a, b ShieldEntry) int { return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()) })
	return held
}

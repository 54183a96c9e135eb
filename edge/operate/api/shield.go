package api

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// ShieldStatus is the packet filter in front of ingress; it stands in a
// NetworkStatus.
type ShieldStatus struct {
	// Mode is what is wanted: "auto", "native", "generic", "off".
	Mode       string            `json:"mode"`
	Interfaces []ShieldInterface `json:"interfaces"`
	// Problem says why it protects less than it could; "": it does not.
	Problem string `json:"problem,omitempty"`

	// Cookies says whose cookies answer SYNs: "own", which nodes with the same key
	// take from each other, or "kernel", which carry the MSS only; Why is why not own.
	Cookies       string `json:"cookies"`
	CookiesReason string `json:"cookies_reason,omitempty"`
	SharedKey     bool   `json:"shared_key"`

	SYNs   ShieldPressure `json:"syns"`   // SYNs for served ports
	Strays ShieldPressure `json:"strays"` // segments that fit nothing

	Verdicts []ShieldVerdict `json:"verdicts"`
	Listed   int             `json:"listed"` // prefixes on the block and allow lists
}

// ShieldInterface is how the shield stands on an interface.
type ShieldInterface struct {
	Name    string `json:"name"`
	Mode    string `json:"mode"`   // that it runs in; "off": packets pass unseen
	Admits  bool   `json:"admits"` // returned cookies are handed to listeners
	Problem string `json:"problem,omitempty"`
}

// ShieldPressure is how one kind of packet stands to its limit.
type ShieldPressure struct {
	On    bool    `json:"on"`
	Left  Seconds `json:"left_seconds,omitempty"` // until it ends, if nothing more comes
	Peak  float64 `json:"peak"`                   // packets in a second
	Limit float64 `json:"limit"`                  // packets in a second
}

// ShieldVerdict counts what came to one verdict.
type ShieldVerdict struct {
	Verdict string `json:"verdict"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// ShieldTop is who is noisiest, the worst first: GET /v1/shield/top?n=20.
type ShieldTop struct {
	Noisy   []ShieldNoisy  `json:"noisy"`   // dropped or answered; a forged address says nothing of who sent it
	Openers []ShieldOpener `json:"openers"` // opened connections, having proved their address
}

// ShieldNoisy is a source prefix.
type ShieldNoisy struct {
	Prefix  netip.Prefix `json:"prefix"`
	Packets uint64       `json:"packets"` // estimated from a sample
	Bytes   uint64       `json:"bytes"`
	Last    string       `json:"last"` // verdict
	Seen    time.Time    `json:"seen,omitzero"`
}

// ShieldOpener is a source prefix.
type ShieldOpener struct {
	Prefix      netip.Prefix `json:"prefix"`
	Connections uint64       `json:"connections"`
	Limited     bool         `json:"limited"`
	Seen        time.Time    `json:"seen,omitzero"`
}

// ShieldEntry is a prefix on the block or the allow list. POST /v1/shield/list
// puts one there, kept over restarts and reboots, in place of what was said of
// this same prefix before; its answer is the entry as it stands there.
type ShieldEntry struct {
	Prefix  netip.Prefix `json:"prefix"`
	Allowed bool         `json:"allowed,omitempty"` // else blocked
	Until   time.Time    `json:"until,omitzero"`    // zero: for good
	Reason  string       `json:"reason,omitempty"`
	// Source is "command" or the file that it stands in; set by the server.
	Source string `json:"source,omitempty"`
}

// ShieldLists is what is listed, in no order: GET /v1/shield/lists.
type ShieldLists struct {
	Entries []ShieldEntry `json:"entries"`
}

// ShieldUnlist takes back what was said of this same prefix: POST
// /v1/shield/unlist, which answers ShieldUnlisted.
type ShieldUnlist struct {
	Prefix netip.Prefix `json:"prefix"`
}

// ShieldUnlisted says whether there was anything to take back.
type ShieldUnlisted struct {
	Removed bool `json:"removed"`
}

// ShieldMode is POST /v1/shield/mode, which answers NetworkStatus: until the next
// restart or reload of anymx-net.
type ShieldMode struct {
	Mode string `json:"mode"` // "auto", "native", "generic", "off"
}

// List is the list that e is on, as people call it.
func (e ShieldEntry) List() string {
	if e.Allowed {
		return "allowed"
	}
	return "blocked"
}

// Sort brings the entries into the order of their addresses, the longest prefix of
// an address, which is the one that decides, first.
func (l ShieldLists) Sort() {
	slices.SortFunc(l.Entries, func(a, b ShieldEntry) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()))
	})
}

// Holding are the entries that all of p is in, the longest, which decides, first.
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

package xdp

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Verdict is the result for a frame. Its text is suitable as a metric label.
type Verdict uint32

// The verdicts. Every frame gets one of those before Admitted; a segment for a listener also gets
// Admitted or Unadmitted.
const (
	Other       = Verdict(bpfVerdictOTHER)        // not for a service address: passes untouched
	NotTCP      = Verdict(bpfVerdictNOT_TCP)      // for a service address, neither TCP nor UDP (ICMP): passes
	Unparsable  = Verdict(bpfVerdictUNPARSABLE)   // dropped, unless Settings.PassUnparsable
	Fragment    = Verdict(bpfVerdictFRAGMENT)     // dropped, unless Settings.PassFragments
	Malformed   = Verdict(bpfVerdictMALFORMED)    // flags, lengths or addresses that no TCP sends: dropped
	Unserved    = Verdict(bpfVerdictUNSERVED)     // UDP, or a port not in Service.Ports: dropped, unless Settings.PassUnserved
	Blocked     = Verdict(bpfVerdictBLOCKED)      // on the block list: dropped
	Limited     = Verdict(bpfVerdictLIMITED)      // the prefix opens connections above Settings.ConnectionRate: dropped
	SYNPassed   = Verdict(bpfVerdictSYN_PASSED)   // a SYN without pressure: passes to the stack
	SYNAnswered = Verdict(bpfVerdictSYN_ANSWERED) // a SYN under pressure: answered with a cookie
	SYNFailed   = Verdict(bpfVerdictSYN_FAILED)   // a SYN that could not be answered: dropped
	Established = Verdict(bpfVerdictESTABLISHED)  // belongs to a connection: passes
	Handshake   = Verdict(bpfVerdictHANDSHAKE)    // completes a handshake of the stack: passes
	Cookie      = Verdict(bpfVerdictCOOKIE)       // returns one of our cookies: passes, and is admitted
	Stray       = Verdict(bpfVerdictSTRAY)        // matches nothing, without pressure: passes, and the stack resets it
	Bogus       = Verdict(bpfVerdictBOGUS)        // matches nothing, under pressure: dropped
	Admitted    = Verdict(bpfVerdictADMITTED)     // a returned cookie was handed to its listener
	Unadmitted  = Verdict(bpfVerdictUNADMITTED)   // the kernel refused it, or nothing listens
	verdicts    = Verdict(bpfVerdictVERDICTS)
)

var verdictNames = [verdicts]string{
	"other", "not-tcp", "unparsable", "fragment", "malformed", "unserved", "blocked", "limited", "syn-passed",
	"syn-answered", "syn-failed", "established", "handshake", "cookie", "stray", "bogus", "admitted", "unadmitted",
}

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	if v < verdicts {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict-%d", uint32(v))
}

// Counter counts the frames with one verdict since the maps were created, which may be before the
// process started.
type Counter struct {
	Verdict Verdict
	Packets uint64
	Bytes   uint64 // of frames, including the Ethernet header
}

// Counters returns one counter per verdict, in their order.
func (s *Shield) Counters() ([]Counter, error) {
	counters := make([]Counter, 0, verdicts)
	var cpus []bpfCount
	for v := range verdicts {
		if err := s.maps.Counts.Lookup(uint32(v), &cpus); err != nil {
			return nil, fmt.Errorf("counter %s: %w", v, err)
		}
		c := Counter{Verdict: v}
		for _, cpu := range cpus {
			c.Packets += cpu.Packets
			c.Bytes += cpu.Bytes
		}
		counters = append(counters, c)
	}
	return counters, nil
}

// first is the key of maps with a single entry.
const first = uint32(0)

// only returns the single value of m.
func only[T any](m *ebpf.Map) (T, error) {
	var value T
	err := m.Lookup(first, &value)
	return value, err
}

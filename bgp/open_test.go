package bgp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

func TestOpenMessage(t *testing.T) {
	p := Peer{Address: addr("192.0.2.1"), ASN: 64501, Families: []Family{IPv4, IPv6}, HoldTime: 30 * time.Second}
	for asn, short := range map[uint32]uint16{64500: 64500, ourASN: asTrans} {
		b, err := openMessage(asn, addr("192.0.2.9"), p)
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint16(b[headerSize+1:]); got != short {
			t.Errorf("AS%d is %d in 16 bits", asn, got)
		}
		kind, size, fault := parseHeader(b)
		if fault != nil || kind != packet.BGP_MSG_OPEN || size != len(b)-headerSize {
			t.Fatalf("type %d, size %d, %v", kind, size, fault)
		}
		got, fault := parseOpen(b[headerSize:])
		want := open{4, asn, 30 * time.Second, addr("192.0.2.9"), []Family{IPv4, IPv6}, true, true}
		if fault != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %v, want %+v", got, fault, want)
		}
		// Graceful restart must not be offered.
		parsed, err := packet.ParseBGPMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, parameter := range parsed.Body.(*packet.BGPOpen).OptParams {
			for _, c := range parameter.(*packet.OptionParameterCapability).Capability {
				if c.Code() == packet.BGP_CAP_GRACEFUL_RESTART {
					t.Error("graceful restart is offered")
				}
			}
		}
	}
}

func TestParseOpen(t *testing.T) {
	// One parameter for all capabilities, as GoBGP and BIRD do it.
	one := []byte{2, 14, 1, 4, 0, 2, 0, 1, 65, 4, 0xfa, 0x56, 0xea, 0x64, 2, 0}
	extended := append([]byte{255, 0, byte(len(one) + 1)}, slices.Insert(slices.Clone(one), 1, 0)...)
	rfc9072 := rawOpen(9, extended...)
	rfc9072[9] = 255
	tests := []struct {
		name string
		body []byte
		want open
	}{
		{"bare", rawOpen(9), open{asn: rawASN, families: []Family{IPv4}}},
		{"modern", rawOpen(9, modern...), open{asn: rawASN, families: []Family{IPv4, IPv6}, wide: true, multiprotocol: true}},
		{"one parameter", rawOpen(9, one...), open{asn: ourASN, families: []Family{IPv6}, wide: true, multiprotocol: true}},
		{"RFC 9072", rfc9072, open{asn: ourASN, families: []Family{IPv6}, wide: true, multiprotocol: true}},
		{"a family twice", rawOpen(9, 2, 12, 1, 4, 0, 1, 0, 1, 1, 4, 0, 1, 0, 1), open{asn: rawASN, families: []Family{IPv4}, multiprotocol: true}},
		{"only multicast", rawOpen(9, 2, 6, 1, 4, 0, 1, 0, 2), open{asn: rawASN, multiprotocol: true}},
	}
	for _, test := range tests {
		test.want.version, test.want.hold, test.want.routerID = 4, 9*time.Second, addr("192.0.2.77")
		got, fault := parseOpen(test.body)
		if fault != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v %v, want %+v", test.name, got, fault, test.want)
		}
	}
	for name, body := range map[string][]byte{
		"empty":                    {},
		"short":                    rawOpen(9)[:9],
		"parameters missing":       append(rawOpen(9)[:9], 2),
		"more than parameters":     append(rawOpen(9), 2, 0),
		"family without body":      rawOpen(9, 2, 2, 1, 0),
		"ASN of 16 bits":           rawOpen(9, 2, 4, 65, 2, 1, 1),
		"RFC 9072 cut short":       append(rawOpen(9)[:9], 255, 255, 0),
		"RFC 9072 with wrong size": append(rawOpen(9)[:9], 255, 255, 0, 9, 2, 0, 0),
	} {
		if o, fault := parseOpen(body); fault == nil {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestAgree(t *testing.T) {
	p := Peer{ASN: 64501, Families: []Family{IPv4, IPv6}, HoldTime: 9 * time.Second}
	good := open{4, 64501, 90 * time.Second, addr("192.0.2.1"), []Family{IPv6}, true, true}
	got, fault := agree(64500, addr("192.0.2.1"), p, good) // another AS may have the same router id
	if want := (terms{addr("192.0.2.1"), 9 * time.Second, []Family{IPv6}, true}); fault != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v, want %+v", got, fault, want)
	}
	shorter := good
	shorter.hold = 3 * time.Second
	if got, fault := agree(64500, addr("192.0.2.9"), p, shorter); fault != nil || got.hold != 3*time.Second {
		t.Errorf("%+v %v", got, fault)
	}
	for want, change := range map[uint8]func(*open){
		packet.BGP_ERROR_SUB_BAD_PEER_AS:            func(o *open) { o.asn = 64502 },
		packet.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER:     func(o *open) { o.routerID = netip.IPv4Unspecified() },
		packet.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME: func(o *open) { o.hold = 0 },
		packet.BGP_ERROR_SUB_UNSUPPORTED_CAPABILITY: func(o *open) { o.families = nil },
	} {
		o := good
		change(&o)
		if _, fault := agree(64500, addr("192.0.2.9"), p, o); fault == nil || fault.Code != packet.BGP_ERROR_OPEN_MESSAGE_ERROR || fault.Subcode != want {
			t.Errorf("%+v: %v", o, fault)
		}
	}
	p.ASN = 64500
	inside := good
	inside.asn = 64500
	if _, fault := agree(64500, addr("192.0.2.1"), p, inside); fault == nil || fault.Subcode != packet.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER {
		t.Errorf("our own router id inside our AS: %v", fault)
	}
}

func TestNotificationsReadWell(t *testing.T) {
	long := strings.Repeat("x", 128)
	for want, n := range map[string]*Notification{
		"sent NOTIFICATION 2/2: bad peer AS":                                                    openError(2),
		"sent NOTIFICATION 4/0: hold timer expired":                                             holdTimerExpired(),
		"received NOTIFICATION 6/4: administrative reset":                                       {Code: 6, Subcode: 4, Received: true},
		`received NOTIFICATION 6/2: administrative shutdown, saying "a b c�"`:                   {Code: 6, Subcode: 2, Data: []byte("\x06a\nb\x00c\xff"), Received: true},
		`received NOTIFICATION 6/2: administrative shutdown, saying "` + long + `"`:             {Code: 6, Subcode: 2, Data: append([]byte{128}, long...), Received: true},
		"received NOTIFICATION 6/2: administrative shutdown, data 05616263":                     {Code: 6, Subcode: 2, Data: []byte("\x05abc"), Received: true},
		"received NOTIFICATION 3/99: UPDATE message error":                                      {Code: 3, Subcode: 99, Received: true},
		"received NOTIFICATION 77/1: unknown error, data ff":                                    {Code: 77, Subcode: 1, Data: []byte{255}, Received: true},
		"sent NOTIFICATION 1/3: bad message type, data 09":                                      headerError(3, 9),
		"sent NOTIFICATION 5/3: unexpected message in Established":                              unexpected(Established),
		"received NOTIFICATION 3/1: malformed attribute list, data " + strings.Repeat("00", 32): {Code: 3, Subcode: 1, Data: make([]byte, 4000), Received: true},
	} {
		if got := n.Error(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// Whatever a peer sends for an OPEN, it is either refused with something that
// can be sent back, or makes sense.
func FuzzOpen(f *testing.F) {
	f.Add(rawOpen(9))
	f.Add(rawOpen(9, modern...))
	f.Add(rawOpen(0, 2, 4, 65, 4, 0, 0))
	f.Add([]byte{4, 0, 1, 0, 9, 1, 1, 1, 1, 255, 255, 0, 9, 2, 0, 6, 1, 4, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		o, fault := parseOpen(body)
		if fault != nil {
			if fault.Code == 0 || fault.Received || fault.Error() == "" {
				t.Errorf("refused with %+v", fault)
			}
			return
		}
		if o.version != 4 || !o.routerID.Is4() || len(o.families) > 2 || o.hold > 65535*time.Second {
			t.Errorf("%+v", o)
		}
		got, fault := agree(64500, addr("192.0.2.1"), Peer{ASN: o.asn, Families: []Family{IPv4, IPv6}, HoldTime: time.Minute}, o)
		if fault == nil && (got.hold < 3*time.Second || got.hold > time.Minute || len(got.families) == 0) {
			t.Errorf("agreed on %+v", got)
		}
	})
}

// Whatever a peer sends, reading it ends, and ends with messages that are no
// longer than they may be.
func FuzzRead(f *testing.F) {
	f.Add(message(packet.BGP_MSG_OPEN, rawOpen(9, modern...)))
	f.Add(slices.Concat(keepalive, message(packet.BGP_MSG_UPDATE, make([]byte, 4)), message(packet.BGP_MSG_NOTIFICATION, []byte{6, 2, 3, 'b', 'y', 'e'})))
	f.Add(slices.Concat(message(packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 1, 0, 1}), sized(65535, 2, nil)))
	f.Add(message(9, nil))
	f.Fuzz(func(t *testing.T, input []byte) {
		l := newLink(&canned{Reader: bytes.NewReader(input)}, &traffic{})
		read := 0
		for {
			kind, body, err := l.read(time.Second)
			if err != nil {
				var n *Notification
				if errors.As(err, &n) && (n.Code != packet.BGP_ERROR_MESSAGE_HEADER_ERROR || n.Subcode == 0) {
					t.Errorf("ended with %v", n)
				}
				return
			}
			if read += headerSize + len(body); read > len(input) {
				t.Fatalf("read %d of %d octets", read, len(input))
			}
			switch kind {
			case packet.BGP_MSG_UPDATE, packet.BGP_MSG_KEEPALIVE:
				if len(body) != 0 {
					t.Errorf("type %d with % x", kind, body)
				}
			case packet.BGP_MSG_NOTIFICATION:
				_ = parseNotification(body).Error()
			case packet.BGP_MSG_ROUTE_REFRESH:
				if f := parseRefresh(body); f > IPv6 {
					t.Errorf("asked for %s", f)
				}
			case packet.BGP_MSG_OPEN:
				_, _ = parseOpen(body)
			default:
				t.Errorf("type %d", kind)
			}
		}
	})
}

package bgp

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// Notification is the NOTIFICATION message that ended a session (RFC 4271 4.5),
// as an error. Test for it with errors.As.
type Notification struct {
	// Code and Subcode say what went wrong (RFC 4271 6, RFC 4486).
	Code, Subcode uint8
	// Data are the octets behind them; at most 4,075.
	Data []byte
	// Received is true where the peer ended the session.
	Received bool
}

// Why the speaker ends a session that has nothing wrong about it (RFC 4486).
const (
	ceaseShutdown     = packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN
	ceaseDeconfigured = packet.BGP_ERROR_SUB_PEER_DECONFIGURED
	ceaseChanged      = packet.BGP_ERROR_SUB_OTHER_CONFIGURATION_CHANGE
)

func cease(subcode uint8) *Notification {
	return &Notification{Code: packet.BGP_ERROR_CEASE, Subcode: subcode}
}

func openError(subcode uint8, data ...byte) *Notification {
	return &Notification{Code: packet.BGP_ERROR_OPEN_MESSAGE_ERROR, Subcode: subcode, Data: data}
}

func headerError(subcode uint8, data ...byte) *Notification {
	return &Notification{Code: packet.BGP_ERROR_MESSAGE_HEADER_ERROR, Subcode: subcode, Data: data}
}

// unexpected is the error for a message that has no place in a state
// (RFC 6608). No NOTIFICATION is known for states without a session.
func unexpected(state State) *Notification {
	n := &Notification{Code: packet.BGP_ERROR_FSM_ERROR}
	switch state {
	case OpenSent:
		n.Subcode = packet.BGP_ERROR_SUB_RECEIVE_UNEXPECTED_MESSAGE_IN_OPENSENT_STATE
	case OpenConfirm:
		n.Subcode = packet.BGP_ERROR_SUB_RECEIVE_UNEXPECTED_MESSAGE_IN_OPENCONFIRM_STATE
	case Established:
		n.Subcode = packet.BGP_ERROR_SUB_RECEIVE_UNEXPECTED_MESSAGE_IN_ESTABLISHED_STATE
	}
	return n
}

func holdTimerExpired() *Notification {
	return &Notification{Code: packet.BGP_ERROR_HOLD_TIMER_EXPIRED}
}

func (n *Notification) Error() string {
	var b strings.Builder
	if n.Received {
		b.WriteString("received")
	} else {
		b.WriteString("sent")
	}
	fmt.Fprintf(&b, " NOTIFICATION %d/%d: %s", n.Code, n.Subcode, n.meaning())
	if text, ok := n.communication(); ok {
		fmt.Fprintf(&b, ", saying %q", text)
	} else if len(n.Data) > 0 {
		fmt.Fprintf(&b, ", data %s", hex.EncodeToString(n.Data[:min(len(n.Data), 32)]))
	}
	return b.String()
}

// communication is what the administrator at the other end has to say
// (RFC 9003), without control characters.
func (n *Notification) communication() (string, bool) {
	said := n.Code == packet.BGP_ERROR_CEASE &&
		(n.Subcode == packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN || n.Subcode == packet.BGP_ERROR_SUB_ADMINISTRATIVE_RESET)
	if !said || len(n.Data) < 2 || int(n.Data[0]) > len(n.Data)-1 {
		return "", false
	}
	text := strings.ToValidUTF8(string(n.Data[1:1+int(n.Data[0])]), "\uFFFD")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text), true
}

// meanings are the names of codes and subcodes: RFC 4271 6, RFC 5492 5,
// RFC 6608 4, RFC 4486 4, RFC 8538 3, RFC 9384 2. The first name is the code's.
var meanings = map[uint8][]string{
	packet.BGP_ERROR_MESSAGE_HEADER_ERROR: {
		"message header error", "connection not synchronized", "bad message length", "bad message type",
	},
	packet.BGP_ERROR_OPEN_MESSAGE_ERROR: {
		"OPEN message error", "unsupported version number", "bad peer AS", "bad BGP identifier",
		"unsupported optional parameter", "authentication failure", "unacceptable hold time", "unsupported capability",
	},
	packet.BGP_ERROR_UPDATE_MESSAGE_ERROR: {
		"UPDATE message error", "malformed attribute list", "unrecognized well-known attribute",
		"missing well-known attribute", "attribute flags error", "attribute length error", "invalid ORIGIN attribute",
		"AS routing loop", "invalid NEXT_HOP attribute", "optional attribute error", "invalid network field",
		"malformed AS_PATH",
	},
	packet.BGP_ERROR_HOLD_TIMER_EXPIRED: {"hold timer expired"},
	packet.BGP_ERROR_FSM_ERROR: {
		"finite state machine error", "unexpected message in OpenSent", "unexpected message in OpenConfirm",
		"unexpected message in Established",
	},
	packet.BGP_ERROR_CEASE: {
		"cease", "maximum number of prefixes reached", "administrative shutdown", "peer de-configured",
		"administrative reset", "connection rejected", "other configuration change",
		"connection collision resolution", "out of resources", "hard reset", "BFD down",
	},
	packet.BGP_ERROR_ROUTE_REFRESH_MESSAGE_ERROR: {"ROUTE-REFRESH message error", "invalid message length"},
}

func (n *Notification) meaning() string {
	names, known := meanings[n.Code]
	switch {
	case !known:
		return "unknown error"
	case int(n.Subcode) < len(names):
		return names[n.Subcode]
	}
	return names[0]
}

// Parses a frame as far as needed to judge it: Ethernet, up to two VLAN tags,
// IPv4 with options or IPv6 with extension headers, and TCP with options. A
// single cursor moves over the headers. The parsing rules are those of the Go
// model in model_test.go.
#pragma once

#include "tables.h"

enum {
	ETH_P_IP = 0x0800,
	ETH_P_8021Q = 0x8100,
	ETH_P_IPV6 = 0x86dd,
	ETH_P_8021AD = 0x88a8,

	IPPROTO_HOPOPTS = 0,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_AH = 51,
	IPPROTO_DSTOPTS = 60,

	FIN = 1,
	SYN = 2,
	RST = 4,
	ACK = 16,

	VLAN_TAGS = 2,
	EXTENSIONS = 8, // maximum number of IPv6 extension headers
	FARTHEST = 0x7fff, // so many headers end before this offset
	MAX_L2 = 14 + 4 * VLAN_TAGS,
	MAX_OPTIONS = 40,
	NO_SCALE = 15, // the peer sent no window scale
};

struct ethernet {
	__u16 to[3];
	__u16 from[3];
	__be16 proto;
};

struct vlan {
	__be16 tag;
	__be16 proto;
};

struct ipv4 {
	__u8 ihl : 4, version : 4;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 proto;
	__u16 sum;
	__be32 from;
	__be32 to;
};

struct ipv6 {
	__be32 flow;
	__be16 length;
	__u8 proto;
	__u8 hops;
	__be32 from[4];
	__be32 to[4];
};

struct tcp {
	__be16 from;
	__be16 to;
	__be32 seq;
	__be32 ack;
	__u8 spare : 4, words : 4;
	__u8 flags;
	__be16 window;
	__u16 sum;
	__be16 urgent;
};

struct packet {
	void *end;
	void *ip;
	struct tcp *tcp; // NULL: not a readable TCP segment
	__u32 size; // of the frame
	__u32 l2; // bytes before ip
	__u32 left; // bytes of the IP payload from tcp on
	__u32 seq; // host byte order, as ack
	__u32 ack;
	__u32 version; // 4, 6; 0: the addresses are unknown
	__u8 flags;
	__u8 options; // bytes of TCP options
	struct bpf_sock_tuple tuple __attribute__((aligned(8)));
};

static __always_inline bool tagged(__be16 proto)
{
	return proto == htons(ETH_P_8021Q) || proto == htons(ETH_P_8021AD);
}

static __always_inline struct network network(const struct packet *p)
{
	struct network n = {.version = p->version};
	if (p->version == 4) {
		n.address[0] = p->tuple.ipv4.saddr & htonl(0xffffff00);
	} else {
		n.address[0] = p->tuple.ipv6.saddr[0];
		n.address[1] = p->tuple.ipv6.saddr[1];
	}
	return n;
}

// A source to which no SYN-ACK may be sent.
static __always_inline bool martian(const struct packet *p)
{
	if (p->version == 4) {
		__u32 first = p->tuple.ipv4.saddr & 0xff;
		return first == 0 || first == 127 || first >= 224 || p->tuple.ipv4.saddr == p->tuple.ipv4.daddr;
	}
	const __be32 *from = p->tuple.ipv6.saddr, *to = p->tuple.ipv6.daddr;
	// 0000::/64 contains the unspecified, the loopback and the mapped addresses.
	return (from[0] & 0xff) == 0xff || (from[0] | from[1]) == 0 ||
	       (from[0] == to[0] && from[1] == to[1] && from[2] == to[2] && from[3] == to[3]);
}

// Returns false for flags that TCP never sends (RFC 9293 3.10.7) or an invalid header.
static __always_inline bool sane(struct packet *p, void *pos)
{
	settle(pos);
	struct tcp *tcp = pos;
	if (p->left < sizeof(*tcp) || (void *)(tcp + 1) > p->end)
		return false;
	__u32 length = tcp->words * 4;
	if (length < sizeof(*tcp) || length > p->left || pos + length > p->end)
		return false;
	__u8 flags = tcp->flags;
	if (flags & SYN ? flags & (FIN | RST) : !(flags & (RST | ACK)) || (flags & (RST | FIN)) == (RST | FIN))
		return false;
	p->tcp = tcp;
	p->seq = ntohl(tcp->seq);
	p->ack = ntohl(tcp->ack);
	p->flags = flags;
	p->options = length - sizeof(*tcp);
	return tcp->from != 0;
}

static __always_inline bool serves(const struct service *service, __be16 port)
{
#pragma unroll
	for (int i = 0; i < PORTS; i++)
		if (service->ports[i] == port)
			return port != 0;
	return false;
}

// Judges a packet for a service address without lists and sockets. VERDICTS means
// a segment for a served port.
static __always_inline enum verdict transport(struct packet *p, void *pos, __u8 proto, const struct service *service)
{
	if (proto == IPPROTO_UDP)
		return UNSERVED;
	if (proto != IPPROTO_TCP)
		return NOT_TCP;
	if (!sane(p, pos) || martian(p))
		return MALFORMED;
	__be32 ports = *(__be32 *)p->tcp; // from, to
	__be16 to = ports >> 16;
	if (p->version == 4) {
		p->tuple.ipv4.sport = ports;
		p->tuple.ipv4.dport = to;
	} else {
		p->tuple.ipv6.sport = ports;
		p->tuple.ipv6.dport = to;
	}
	return serves(service, to) ? VERDICTS : UNSERVED;
}

static __always_inline enum verdict walk4(struct packet *p, void *pos)
{
	struct ipv4 *ip = pos;
	if ((void *)(ip + 1) > p->end)
		return UNPARSABLE;
	__be32 to = ip->to;
	struct service *service = bpf_map_lookup_elem(&services4, &to);
	if (!service)
		return OTHER;
	p->ip = ip;
	p->version = 4;
	p->tuple.ipv4.saddr = ip->from;
	p->tuple.ipv4.daddr = to;

	__u32 header = ip->ihl * 4, length = ntohs(ip->length);
	if (ip->version != 4 || header < sizeof(*ip) || length < header)
		return UNPARSABLE;
	if (ip->fragment & htons(0x3fff)) // more fragments, or an offset
		return FRAGMENT;
	p->left = length - header;
	return transport(p, pos + header, ip->proto, service);
}

// Returns whether proto is an extension header that another header follows.
static __always_inline bool extends(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_AH || proto == IPPROTO_DSTOPTS;
}

static __always_inline enum verdict walk6(struct packet *p, void *pos)
{
	struct ipv6 *ip = pos;
	if ((void *)(ip + 1) > p->end)
		return UNPARSABLE;
	struct in6 to = *(struct in6 *)ip->to;
	struct service *service = bpf_map_lookup_elem(&services6, &to);
	if (!service)
		return OTHER;
	p->ip = ip;
	p->version = 6;
	*(struct in6 *)p->tuple.ipv6.saddr = *(struct in6 *)ip->from;
	*(struct in6 *)p->tuple.ipv6.daddr = to;
	if ((ip->flow & 0xf0) != 0x60)
		return UNPARSABLE;

	// The cursor is an offset here, with the same bounds for each header, which
	// leaves the verifier fewer states to check.
	__u32 at = sizeof(*ip), left = ntohs(ip->length);
	__u8 proto = ip->proto;
	int i;
	for (i = 0; i <= EXTENSIONS && extends(proto); i++) {
		__u8 *header = pos + (at & FARTHEST);
		settle(header);
		if ((void *)(header + 2) > p->end)
			return UNPARSABLE;
		__u32 length = proto == IPPROTO_AH ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
		proto = header[0];
		if (length > left)
			return UNPARSABLE;
		left -= length;
		at += length;
	}
	if (proto == IPPROTO_FRAGMENT && i <= EXTENSIONS)
		return FRAGMENT;
	if (i > EXTENSIONS)
		return UNPARSABLE; // more headers than anyone sends
	p->left = left;
	return transport(p, pos + (at & FARTHEST), proto, service);
}

// Fills p and returns the verdict that the headers alone decide. VERDICTS means a
// segment for a served port.
static __always_inline enum verdict walk(struct packet *p, void *start, void *end)
{
	struct ethernet *eth = start;
	p->size = end - start;
	p->end = end;
	if ((void *)(eth + 1) > end)
		return UNPARSABLE;
	__be16 proto = eth->proto;
	void *pos = eth + 1;
#pragma unroll
	for (int i = 0; i < VLAN_TAGS; i++) {
		struct vlan *vlan = pos;
		if (!tagged(proto))
			break;
		if ((void *)(vlan + 1) > end)
			return UNPARSABLE;
		proto = vlan->proto;
		pos = vlan + 1;
	}
	p->l2 = pos - start;
	enum verdict v = tagged(proto) ? UNPARSABLE : OTHER;
	if (proto == htons(ETH_P_IP))
		v = walk4(p, pos);
	else if (proto == htons(ETH_P_IPV6))
		v = walk6(p, pos);
	if (p->tcp && eth->to[0] & 1) // TCP is never for a group of hosts
		return MALFORMED;
	return v;
}

// The TCP options that matter for a handshake.
struct options {
	const __u8 *first;
	void *end; // of the frame
	__u32 length;
	__u32 at; // from first
	__u32 ts_value;
	__u32 ts_echo;
	__u16 mss; // 0: none
	__u8 scale; // NO_SCALE: none
	__u8 sack;
	__u8 ts;
};

enum { END = 0, NOP = 1, MSS = 2, SCALE = 3, SACK = 4, STAMPS = 8 };

static __always_inline __u32 word_at(const __u8 *pos)
{
	return (__u32)pos[0] << 24 | pos[1] << 16 | pos[2] << 8 | pos[3];
}

// Reads one option. The header is already known to end within the frame; the
// comparisons with o->end are for the verifier.
static long read_option(__u32 i, struct options *o)
{
	__u32 at = o->at;
	settle(at);
	if (at >= o->length || at >= MAX_OPTIONS)
		return 1;
	const __u8 *pos = o->first + at;
	void *end = o->end;
	if ((void *)(pos + 1) > end || pos[0] == END)
		return 1;
	if (pos[0] == NOP) {
		o->at = at + 1;
		return 0;
	}
	if ((void *)(pos + 2) > end)
		return 1;
	__u32 kind = pos[0], length = pos[1];
	if (length < 2 || at + length > o->length)
		return 1;
	if (kind == MSS && length == 4 && (void *)(pos + 4) <= end) {
		o->mss = pos[2] << 8 | pos[3];
	} else if (kind == SCALE && length == 3 && (void *)(pos + 3) <= end) {
		o->scale = pos[2] > 14 ? 14 : pos[2]; // RFC 7323 2.3
	} else if (kind == SACK && length == 2) {
		o->sack = 1;
	} else if (kind == STAMPS && length == 10 && (void *)(pos + 10) <= end) {
		o->ts = 1;
		o->ts_value = word_at(pos + 2);
		o->ts_echo = word_at(pos + 6);
	}
	o->at = at + length;
	return 0;
}

// Recognizes the two layouts of nearly all segments of a handshake. This shortcut
// gives the same result as read_option.
static __always_inline bool usual(const struct packet *p, struct options *o)
{
	const __be32 *words = (__be32 *)(p->tcp + 1);
	if (p->options == 12 && (void *)(words + 3) <= p->end && words[0] == htonl(0x0101080a)) {
		o->ts = 1;
		o->ts_value = ntohl(words[1]);
		o->ts_echo = ntohl(words[2]);
		return true;
	}
	if (p->options != 20 || (void *)(words + 5) > p->end || words[1] != htonl(0x0402080a))
		return false;
	__u32 mss = ntohl(words[0]), scale = ntohl(words[4]);
	if (mss >> 16 != (MSS << 8 | 4) || scale >> 8 != (NOP << 16 | SCALE << 8 | 3))
		return false;
	o->mss = mss;
	o->scale = (scale & 0xff) > 14 ? 14 : scale;
	o->sack = o->ts = 1;
	o->ts_value = ntohl(words[2]);
	o->ts_echo = ntohl(words[3]);
	return true;
}

static __always_inline void read_options(const struct packet *p, struct options *o)
{
	o->first = (__u8 *)(p->tcp + 1);
	o->end = p->end;
	o->length = p->options;
	o->scale = NO_SCALE;
	if (p->options && !usual(p, o))
		bpf_loop(MAX_OPTIONS, read_option, o, 0);
}

// The reply to a SYN: the frame that contains the SYN is turned into a SYN-ACK.
#pragma once

#include "cookie.h"

enum {
	WINDOW = 29200, // less than any stack's initial window, so that it never shrinks
	WINDOW_SCALE = 7, // ours; nodes that share a key must agree on it
	HOPS = 64,
	WORDS = 5, // maximum words of options
};

// The content of the SYN-ACK besides the addresses.
struct reply {
	__u32 seq;
	__u32 stamp;
	__u32 echo;
	__u16 mss;
	bool sack, scale, ts;
};

static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// Encodes the options as words in network byte order and returns their number. A
// SYN with an MSS option is never shorter than the reply to it. This matters
// because some drivers have no room after a frame.
static __always_inline __u32 lay_out(const struct reply *r, __be32 words[WORDS])
{
	const __u32 nops = 0x0101, sack = r->sack ? 0x0402 : nops;
	const __be32 scale = htonl(0x01030300 | WINDOW_SCALE);
	words[0] = htonl(2 << 24 | 4 << 16 | r->mss);
	if (r->ts) {
		words[1] = htonl(sack << 16 | 0x080a);
		words[2] = htonl(r->stamp);
		words[3] = htonl(r->echo);
		words[4] = scale;
		return r->scale ? 5 : 4;
	}
	if (r->sack) {
		words[1] = htonl(nops << 16 | sack);
		words[2] = scale;
		return r->scale ? 3 : 2;
	}
	words[1] = scale;
	return r->scale ? 2 : 1;
}

// Writes a TCP header with n words of options. sum is the initial checksum.
static __always_inline bool write_tcp(void *pos, void *end, const struct packet *p, const struct reply *r, const __be32 *options, __u32 n, __u64 sum)
{
	struct tcp *tcp = pos;
	if ((void *)(tcp + 1) > end)
		return false;
	if (p->version == 4) {
		tcp->from = p->tuple.ipv4.dport;
		tcp->to = p->tuple.ipv4.sport;
	} else {
		tcp->from = p->tuple.ipv6.dport;
		tcp->to = p->tuple.ipv6.sport;
	}
	tcp->seq = htonl(r->seq);
	tcp->ack = htonl(p->seq + 1);
	*(__be16 *)(pos + 12) = htons((5 + n) << 12 | SYN | ACK);
	tcp->window = htons(WINDOW);
	tcp->sum = 0;
	tcp->urgent = 0;
	__be32 *words = pos;
#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += words[i];
	words = (__be32 *)(tcp + 1);
#pragma unroll
	for (int i = 0; i < WORDS; i++) {
		if (i >= n)
			continue;
		if ((void *)(words + i + 1) > end)
			return false;
		words[i] = options[i];
		sum += options[i];
	}
	tcp->sum = folded(sum);
	return true;
}

static __always_inline bool write4(void *pos, void *end, const struct packet *p, const struct reply *r, const __be32 *options, __u32 n)
{
	__u32 length = sizeof(struct tcp) + n * 4;
	struct ipv4 *ip = pos;
	if ((void *)(ip + 1) > end)
		return false;
	*(__u16 *)pos = 0x45; // version, header length, no type of service
	ip->length = htons(sizeof(*ip) + length);
	ip->id = 0;
	ip->fragment = htons(0x4000); // don't fragment
	ip->ttl = HOPS;
	ip->proto = IPPROTO_TCP;
	ip->sum = 0;
	ip->from = p->tuple.ipv4.daddr;
	ip->to = p->tuple.ipv4.saddr;
	__be32 *words = pos;
	__u64 sum = 0;
#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += words[i];
	ip->sum = folded(sum);
	sum = (__u64)ip->from + ip->to + htons(IPPROTO_TCP) + htons(length);
	return write_tcp(ip + 1, end, p, r, options, n, sum);
}

static __always_inline bool write6(void *pos, void *end, const struct packet *p, const struct reply *r, const __be32 *options, __u32 n)
{
	__u32 length = sizeof(struct tcp) + n * 4;
	struct ipv6 *ip = pos;
	if ((void *)(ip + 1) > end)
		return false;
	ip->flow = htonl(0x60000000);
	ip->length = htons(length);
	ip->proto = IPPROTO_TCP;
	ip->hops = HOPS;
	*(struct in6 *)ip->from = *(struct in6 *)p->tuple.ipv6.daddr;
	*(struct in6 *)ip->to = *(struct in6 *)p->tuple.ipv6.saddr;
	__u64 sum = htons(IPPROTO_TCP) + htons(length);
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)ip->from[i] + ip->to[i];
	return write_tcp(ip + 1, end, p, r, options, n, sum);
}

// Changes the length of the frame. Pointers into it are invalid afterwards.
static __always_inline bool resize(struct xdp_md *xdp, const struct packet *p, __u32 length)
{
	int by = (int)(p->l2 + (p->version == 4 ? sizeof(struct ipv4) : sizeof(struct ipv6)) + length) - (int)p->size;
	return by == 0 || bpf_xdp_adjust_tail(xdp, by) == 0;
}

// Turns the frame around. Returns false if it can't, and then nothing may be sent.
static __always_inline bool answer(struct xdp_md *xdp, struct packet *p, const struct reply *r)
{
	__be32 options[WORDS];
	__u32 n = lay_out(r, options);
	if (!resize(xdp, p, sizeof(struct tcp) + n * 4))
		return false;
	void *start = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethernet *eth = start;
	__u32 l2 = p->l2;
	settle(l2);
	if ((void *)(eth + 1) > end || l2 > MAX_L2)
		return false;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u16 to = eth->to[i];
		eth->to[i] = eth->from[i];
		eth->from[i] = to;
	}
	void *pos = start + l2; // VLAN tags stay
	settle(pos);
	return p->version == 4 ? write4(pos, end, p, r, options, n) : write6(pos, end, p, r, options, n);
}

// A cookie is the initial sequence number of a SYN-ACK about which nothing is
// stored. From the low bit:
//
//	2  index of the MSS in the table of the IP version
//	4  window scale of the peer, 15 for none
//	1  SACK permitted
//	1  slot of the key
//	24 the low bits of SipHash-2-4 over the input below
//
// The input is the addresses and ports as they are in the packet, the peer's
// initial sequence number as a little-endian integer, and the low byte of the
// cookie. The high 32 bits of the hash are the timestamp of the SYN-ACK, if
// the peer uses timestamps: the ACK returns it, and it must be the same.
#pragma once

#include "packet.h"

struct cookie {
	__u32 value;
	__u32 stamp; // timestamp that belongs to it
};

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))
#define ROUND \
	do { \
		v0 += v1; v1 = ROTATE(v1, 13); v1 ^= v0; v0 = ROTATE(v0, 32); \
		v2 += v3; v3 = ROTATE(v3, 16); v3 ^= v2; \
		v0 += v3; v3 = ROTATE(v3, 21); v3 ^= v0; \
		v2 += v1; v1 = ROTATE(v1, 17); v1 ^= v2; v2 = ROTATE(v2, 32); \
	} while (0)
#define COMPRESS(word) \
	do { \
		__u64 m = (word); \
		v3 ^= m; ROUND; ROUND; v0 ^= m; \
	} while (0)

// SipHash-2-4 of 17 bytes (IPv4) or 41 bytes (IPv6).
static __noinline __u64 digest(const struct bpf_sock_tuple *tuple, const __u64 *key, __u32 version, __u32 isn, __u32 low)
{
	__u64 v0 = 0x736f6d6570736575ull ^ key[0], v1 = 0x646f72616e646f6dull ^ key[1];
	__u64 v2 = 0x6c7967656e657261ull ^ key[0], v3 = 0x7465646279746573ull ^ key[1];
	const __u64 *words = (const __u64 *)tuple;
	__u64 ports, last;
	if (version == 4) {
		COMPRESS(words[0]);
		ports = *(const __u32 *)&tuple->ipv4.sport;
		last = 17ull << 56;
	} else {
		COMPRESS(words[0]);
		COMPRESS(words[1]);
		COMPRESS(words[2]);
		COMPRESS(words[3]);
		ports = *(const __u32 *)&tuple->ipv6.sport;
		last = 41ull << 56;
	}
	COMPRESS(ports | (__u64)isn << 32);
	COMPRESS(last | (low & 0xff));
	v2 ^= 0xff;
	ROUND; ROUND; ROUND; ROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

// The kernel accepts a cookie only with at least the smallest MSS.
static __always_inline __u16 mss_of(__u32 version, __u32 index)
{
	switch (index & 3) {
	case 0:
		return version == 4 ? 536 : 1220;
	case 1:
		return version == 4 ? 1300 : 1360;
	case 2:
		return version == 4 ? 1440 : 1420;
	default:
		return version == 4 ? 1460 : 1440;
	}
}

static __always_inline __u32 mss_index(__u32 version, __u16 mss)
{
	return mss >= mss_of(version, 3) ? 3 : mss >= mss_of(version, 2) ? 2 : mss >= mss_of(version, 1) ? 1 : 0;
}

static __always_inline struct cookie bake(const struct packet *p, const struct options *o)
{
	struct cookie c = {};
	struct keys *k = the_keys();
	if (!k)
		return c;
	__u32 slot = k->current & 1;
	__u32 low = slot << 7 | o->sack << 6 | (o->scale & 15) << 2 | mss_index(p->version, o->mss);
	__u64 hash = digest(&p->tuple, k->slots[slot], p->version, p->seq, low);
	c.value = (__u32)hash << 8 | low;
	c.stamp = hash >> 32;
	return c;
}

// Returns whether p, an ACK, returns one of our cookies. It stores the timestamp
// that was sent with the cookie in *stamp.
static __always_inline bool ours(const struct packet *p, __u32 *stamp)
{
	struct keys *k = the_keys();
	if (!k)
		return false;
	__u32 value = p->ack - 1;
	__u64 hash = digest(&p->tuple, k->slots[value >> 7 & 1], p->version, p->seq - 1, value & 0xff);
	*stamp = hash >> 32;
	return (__u32)hash << 8 == (value & ~0xffu);
}

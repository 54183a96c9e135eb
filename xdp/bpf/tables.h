// The maps and their content, which the programs share with user space. The types
// of the Go side are generated from these, so that nothing is defined twice. If a
// layout changes, change `layout` in shield.go as well.
#pragma once

#include "kernel.h"

// The result for a packet. Each packet gets exactly one verdict of `shield`, and
// each packet that `admit` handles gets another one.
enum verdict {
	OTHER, // not for a service address: passes untouched
	NOT_TCP, // for a service address, and neither TCP nor UDP: passes
	UNPARSABLE, // as configured
	FRAGMENT, // as configured
	MALFORMED, // drop
	UNSERVED, // as configured
	BLOCKED, // drop
	LIMITED, // drop: the source prefix opens connections too fast
	SYN_PASSED, // to the stack
	SYN_ANSWERED, // by a cookie
	SYN_FAILED, // drop: it could not be answered
	ESTABLISHED, // to a connection that the stack knows
	HANDSHAKE, // completes a handshake of the stack, or returns its cookie
	COOKIE, // returns one of our cookies
	STRAY, // matches nothing: passes, and the stack resets it
	BOGUS, // drop: matches nothing
	ADMITTED, // admit: handed to the listener
	UNADMITTED, // admit: the kernel refused it
	VERDICTS,
};

enum { // settings.flags
	READY = 1, // everything passes without this flag
	ACCESS4 = 2, // access4 is not empty
	ACCESS6 = 4,
	SHARED = 8, // other nodes have the same key: their cookies may arrive at any time
	NO_SACK = 16, // disabled by sysctl: the stack would refuse the option
	NO_TIMESTAMPS = 32,
	NO_WINDOW_SCALE = 64,
};

enum { ADAPTIVE, ALWAYS, NEVER }; // settings.cookies

struct settings {
	__u32 flags;
	__u32 drops; // a bit for each verdict that is dropped
	__u32 cookies;
	__u16 mss4; // in SYN-ACKs
	__u16 mss6;
	__u64 limits[2]; // packets in one window, for each meter
	__u64 hold; // ns that pressure lasts after the last window above the limit
	__u64 memory; // ns after pressure in which our cookies may still be returned
	__u64 interval; // ns between two new connections of one prefix; 0: no limit
	__u64 burst; // ns that a prefix may run ahead
};

enum { PORTS = 8 };
struct service {
	__be16 ports[PORTS]; // TCP; 0 ends the list
};

enum { PASSES = 1, BLOCKS = 2 }; // access.action

// The longest prefix decides.
struct access {
	__u64 expires; // ns of CLOCK_MONOTONIC_COARSE, as all times here; 0: never
	__u32 action;
	__u32 spare;
};
struct prefix4 {
	__u32 bits;
	__u8 address[4];
};
struct prefix6 {
	__u32 bits;
	__u8 address[16];
};

struct count {
	__u64 packets;
	__u64 bytes; // of frames
};

// Cookies of both slots are valid; new ones use the current one. A slot is only
// rewritten while it is not current.
struct keys {
	__u32 current; // 0 or 1
	__u32 spare;
	__u64 slots[2][2]; // SipHash keys, little-endian halves
	__u8 secret[32]; // of a node without a configured key; not used here
};

// Counts packets of one kind in a time window.
enum meter_of { SYNS, STRAYS, METERS };
struct meter {
	__u64 window; // number of the window that count belongs to
	__u64 count;
	__u64 until; // ns: end of the pressure
	__u64 peak; // largest count of a window since the map was created
	__u64 spare[4]; // pads each meter to a cache line
};
struct pending {
	__u64 counts[METERS]; // not yet added to the meters
};

// A /24 or a /64.
struct network {
	__be32 address[2]; // IPv4: the second is 0
	__u32 version; // 4 or 6
};

// A prefix that opened connections.
struct source {
	__u64 due; // ns: when its bucket is full again
	__u64 connections;
	__u64 seen; // ns
};

// A sample of the packets that were dropped or answered: one in SAMPLE.
enum { SAMPLE = 64 };
struct noise {
	__u64 samples;
	__u64 bytes;
	__u64 seen; // ns
	__u32 verdict; // of the last one
	__u32 spare;
};

#define TABLE(name, kind, size, key_type, value_type) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, size); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")
#define TRIE(name, size, key_type, value_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE); \
		__uint(max_entries, size); \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

TABLE(settings, BPF_MAP_TYPE_ARRAY, 1, __u32, struct settings);
TABLE(keys, BPF_MAP_TYPE_ARRAY, 1, __u32, struct keys);
TABLE(services4, BPF_MAP_TYPE_HASH, 256, __be32, struct service);
TABLE(services6, BPF_MAP_TYPE_HASH, 256, struct in6, struct service);
TRIE(access4, 100000, struct prefix4, struct access);
TRIE(access6, 100000, struct prefix6, struct access);
TABLE(counts, BPF_MAP_TYPE_PERCPU_ARRAY, VERDICTS, enum verdict, struct count);
TABLE(meters, BPF_MAP_TYPE_ARRAY, METERS, enum meter_of, struct meter);
TABLE(pendings, BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, struct pending);
TABLE(sources, BPF_MAP_TYPE_LRU_HASH, 65536, struct network, struct source);
TABLE(noises, BPF_MAP_TYPE_LRU_HASH, 4096, struct network, struct noise);

#define ONLY(name) \
	static __always_inline struct name *the_##name(void) \
	{ \
		__u32 first = 0; \
		return bpf_map_lookup_elem(&name, &first); \
	}
ONLY(settings)
ONLY(keys)

// The types and helpers of the kernel that the shield uses. They are defined here,
// so that a build only needs clang (neither kernel headers nor libbpf, nor a dump
// of a running kernel's types), and so that the object does not depend on the
// machine that built it.
//
// Everything except the two structs at the end that say so is kernel ABI: offsets
// and numbers never change. Integers named __be* are in network byte order.
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef _Bool bool;

#define NULL ((void *)0)
#define true 1
#define false 0

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// Map definitions as BTF describes them.
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

// Keeps the compiler from reading or computing a value twice: to the verifier,
// these would be two values, and a check of one would not apply to the other.
#define settle(value) asm volatile("" : "+r"(value))

// The object is little-endian, like the machines that run it.
#define htons(x) ((__be16)__builtin_bswap16((__u16)(x)))
#define htonl(x) ((__be32)__builtin_bswap32((__u32)(x)))
#define ntohs(x) ((__u16)__builtin_bswap16((__be16)(x)))
#define ntohl(x) ((__u32)__builtin_bswap32((__be32)(x)))

enum { // enum bpf_map_type
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
};
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };

enum { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX };
enum { TCX_NEXT = -1 };

enum { // include/net/tcp_states.h
	TCP_ESTABLISHED = 1,
	TCP_LISTEN = 10,
	TCP_NEW_SYN_RECV = 12,
};

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	void *flow_keys __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	struct bpf_sock *sk __attribute__((aligned(8)));
};

struct in6 {
	__be32 words[4];
};

struct bpf_sock_tuple {
	union {
		struct {
			__be32 saddr;
			__be32 daddr;
			__be16 sport;
			__be16 dport;
		} ipv4;
		struct {
			__be32 saddr[4];
			__be32 daddr[4];
			__be16 sport;
			__be16 dport;
		} ipv6;
	};
};

// Not part of the kernel's ABI: the loader relocates the field with the running
// kernel's BTF (CO-RE).
struct tcp_request_sock {
	__u32 snt_isn; // the sequence number of the SYN-ACK
} __attribute__((preserve_access_index));

// Argument of bpf_sk_assign_tcp_reqsk, which checks its size.
struct bpf_tcp_req_attrs {
	__u32 rcv_tsval; // the peer's clock
	__u32 rcv_tsecr; // our clock, as the peer echoes it
	__u16 mss;
	__u8 rcv_wscale; // as the SYN-ACK offered
	__u8 snd_wscale; // as the SYN offered
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3]; // must be zero
};

struct sock { // opaque: only passed on
	__u8 first;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_skb_pull_data)(struct __sk_buff *skb, __u32 len) = (void *)39;
static long (*bpf_xdp_adjust_tail)(struct xdp_md *xdp, int delta) = (void *)65;
static long (*bpf_sk_release)(void *sk) = (void *)86;
// Returns NULL, or a socket of any state that must be released. It ignores flags
// of the segment: a SYN for a closing connection finds that connection.
static struct bpf_sock *(*bpf_skc_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns, __u64 flags) = (void *)99;
// Returns 0 if the segment's ACK has a valid cookie of the stack, which must have
// sent cookies recently. sk must be a listener.
static long (*bpf_tcp_check_syncookie)(void *sk, void *ip, __u32 ip_len, void *tcp, __u32 tcp_len) = (void *)100;
// Low 32 bits: a cookie of the stack; the next 16: the MSS. Negative: the stack would
// not send one now. tcp_len must be the length of the header.
static __s64 (*bpf_tcp_gen_syncookie)(void *sk, void *ip, __u32 ip_len, void *tcp, __u32 tcp_len) = (void *)110;
static struct sock *(*bpf_skc_to_tcp_sock)(void *sk) = (void *)137;
static struct tcp_request_sock *(*bpf_skc_to_tcp_request_sock)(void *sk) = (void *)139;
// Nanoseconds of CLOCK_MONOTONIC_COARSE: accurate to a few milliseconds, and cheap.
static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160;
static long (*bpf_loop)(__u32 times, void *callback, void *context, __u64 flags) = (void *)181;

// Since Linux 6.9. Passes a TCP segment at TC ingress to the listener sk, as the end
// of a handshake that the stack doesn't know.
extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk, struct bpf_tcp_req_attrs *attrs, int size) __attribute__((section(".ksyms")));

// The shield: `shield` judges every frame at XDP, `admit` hands validated
// handshakes to the listener at TC ingress.
//
//  1. walk parses the frame from the Ethernet header to TCP. What is not for a
//     service address passes; invalid frames are told apart from unparsable ones.
//  2. The block list applies before anything may pass.
//  3. A SYN passes to the stack without pressure. Under pressure it is answered
//     with a cookie, by turning the frame around, and nothing is stored.
//  4. Anything else must belong to a connection or a handshake of the stack, or
//     return a cookie, ours or the stack's. Without pressure, other segments pass
//     so that the stack resets them; under pressure they are dropped.
//  5. A returned cookie passes XDP and reaches admit, which validates it again
//     and gives the stack the negotiated options.
//
// Each program has a single exit, where it counts one verdict.
#include "pressure.h"
#include "reply.h"

char _license[] SEC("license") = "GPL";

// Kernels without bpf_sk_assign_tcp_reqsk don't accept a handshake from us: there
// the shield uses the stack's own cookies. Set before the program is loaded.
const volatile bool stack_cookies = false;

static __always_inline bool dropped(const struct settings *s, enum verdict v)
{
	return s->drops >> v & 1;
}

static __always_inline void count(enum verdict v, const struct packet *p, bool noisy)
{
	__u32 at = v;
	struct count *c = bpf_map_lookup_elem(&counts, &at);
	if (!c)
		return;
	c->packets++;
	c->bytes += p->size;
	if (noisy && p->version && c->packets % SAMPLE == 0)
		note(p, v);
}

static __always_inline struct bpf_sock *lookup(void *context, struct packet *p)
{
	__u32 size = p->version == 4 ? sizeof(p->tuple.ipv4) : sizeof(p->tuple.ipv6);
	return bpf_skc_lookup_tcp(context, &p->tuple, size, -1, 0);
}

// Returns BLOCKS or PASSES, or 0 for a source that is not on a list.
static __always_inline __u32 listed(const struct settings *s, const struct packet *p)
{
	struct access *found = NULL;
	if (p->version == 4 && s->flags & ACCESS4) {
		struct prefix4 key = {.bits = 32};
		*(__be32 *)key.address = p->tuple.ipv4.saddr;
		found = bpf_map_lookup_elem(&access4, &key);
	} else if (p->version == 6 && s->flags & ACCESS6) {
		struct prefix6 key = {.bits = 128};
		*(struct in6 *)key.address = *(struct in6 *)p->tuple.ipv6.saddr;
		found = bpf_map_lookup_elem(&access6, &key);
	}
	if (!found || (found->expires && found->expires <= bpf_ktime_get_coarse_ns()))
		return 0;
	return found->action;
}

// Answers with a cookie of the stack, which only contains the MSS.
static __always_inline enum verdict answer_for_stack(struct xdp_md *xdp, struct packet *p, struct reply *r)
{
	struct bpf_sock *sk = lookup(xdp, p);
	if (!sk)
		return SYN_PASSED;
	// The helper accepts a header only together with its options.
	struct {
		struct tcp header;
		__u32 words[MAX_OPTIONS / 4];
	} copy = {.header = *p->tcp};
	__u32 *from = (__u32 *)(p->tcp + 1), length = sizeof(copy.header) + (p->options & 60);
#pragma unroll
	for (int i = 0; i < MAX_OPTIONS / 4; i++) {
		if (i * 4 < p->options && (void *)(from + i + 1) <= p->end)
			copy.words[i] = from[i];
	}
	if (length > sizeof(copy))
		length = sizeof(copy);
	__u32 ip_size = p->version == 4 ? sizeof(struct ipv4) : sizeof(struct ipv6);
	struct ipv6 ip = {};
	__s64 made = -1;
	if (p->version == 4 && p->ip + sizeof(struct ipv4) <= p->end)
		*(struct ipv4 *)&ip = *(struct ipv4 *)p->ip;
	else if (p->version == 6 && p->ip + sizeof(struct ipv6) <= p->end)
		ip = *(struct ipv6 *)p->ip;
	made = bpf_tcp_gen_syncookie(sk, &ip, ip_size, &copy, length);
	bpf_sk_release(sk);
	if (made < 0)
		return SYN_PASSED; // the stack has room, or can't make cookies: its turn
	r->seq = made;
	r->mss = made >> 32;
	return answer(xdp, p, r) ? SYN_ANSWERED : SYN_FAILED;
}

static __always_inline enum verdict answer_for_us(struct xdp_md *xdp, const struct settings *s, struct packet *p, struct reply *r)
{
	struct options o = {};
	read_options(p, &o);
	if (s->flags & NO_SACK)
		o.sack = 0;
	if (s->flags & NO_WINDOW_SCALE)
		o.scale = NO_SCALE;
	if (s->flags & NO_TIMESTAMPS)
		o.ts = 0;
	struct cookie c = bake(p, &o);
	r->seq = c.value;
	r->stamp = c.stamp;
	r->echo = o.ts_value;
	r->sack = o.sack;
	r->scale = o.scale != NO_SCALE;
	r->ts = o.ts;
	return answer(xdp, p, r) ? SYN_ANSWERED : SYN_FAILED;
}

// Returns whether the 4-tuple of a SYN belongs to an existing or closing connection.
static __always_inline bool reused(struct xdp_md *xdp, struct packet *p)
{
	struct bpf_sock *sk = lookup(xdp, p);
	if (!sk)
		return false;
	bool yes = sk->state != TCP_LISTEN;
	bpf_sk_release(sk);
	return yes;
}

static __always_inline enum verdict judge_syn(struct xdp_md *xdp, const struct settings *s, struct packet *p, bool exempt)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	bool pressure = pressed(s, SYNS, now);
	struct network n = network(p);
	const struct source *source = bpf_map_lookup_elem(&sources, &n);
	if (source && !exempt && overdrawn(s, source, now))
		return LIMITED;
	if (s->cookies != ADAPTIVE)
		pressure = s->cookies == ALWAYS;
	// Only a source that was here before can match one of its old connections, and
	// the stack knows best what such a SYN means. No flood gets through here: it would
	// have to guess both ends of a connection.
	if (!pressure || (source && reused(xdp, p)))
		return SYN_PASSED;
	struct reply r = {.mss = p->version == 4 ? s->mss4 : s->mss6};
	return stack_cookies ? answer_for_stack(xdp, p, &r) : answer_for_us(xdp, s, p, &r);
}

// Returns whether an ACK returns a cookie of the stack's listener sk.
static __always_inline bool stacks(struct bpf_sock *sk, const struct packet *p)
{
	if ((void *)(p->tcp + 1) > p->end)
		return false;
	if (p->version == 4)
		return p->ip + sizeof(struct ipv4) <= p->end &&
		       !bpf_tcp_check_syncookie(sk, p->ip, sizeof(struct ipv4), p->tcp, sizeof(struct tcp));
	return p->ip + sizeof(struct ipv6) <= p->end &&
	       !bpf_tcp_check_syncookie(sk, p->ip, sizeof(struct ipv6), p->tcp, sizeof(struct tcp));
}

// Returns whether our cookies may be returned now, because this node or one with
// the same key has recently answered SYNs.
static __always_inline bool expected(const struct settings *s, __u64 now)
{
	return !stack_cookies && (s->flags & SHARED || answering(s, now, s->memory));
}

static __always_inline enum verdict judge_segment(struct xdp_md *xdp, const struct settings *s, struct packet *p, bool exempt)
{
	enum verdict v = STRAY;
	bool acks = (p->flags & (SYN | RST | ACK)) == ACK;
	struct bpf_sock *sk = lookup(xdp, p);
	if (sk && sk->state != TCP_LISTEN) {
		v = ESTABLISHED;
		if (acks && sk->state == TCP_NEW_SYN_RECV) {
			struct tcp_request_sock *request = bpf_skc_to_tcp_request_sock(sk);
			if (request && request->snt_isn + 1 == p->ack)
				v = HANDSHAKE;
		}
	} else if (acks && sk && stacks(sk, p)) {
		v = HANDSHAKE;
	}
	if (sk)
		bpf_sk_release(sk);
	if (v == ESTABLISHED)
		return v;

	__u32 stamp;
	__u64 now = bpf_ktime_get_coarse_ns();
	if (v == STRAY && acks && expected(s, now) && ours(p, &stamp))
		v = COOKIE;
	if (v != STRAY)
		return charge(s, p, exempt, now) ? v : LIMITED;
	bool pressure = pressed(s, STRAYS, now);
	if (s->cookies != ADAPTIVE)
		pressure = s->cookies == ALWAYS;
	return pressure || answering(s, now, 0) ? BOGUS : STRAY;
}

static __always_inline enum verdict judge(struct xdp_md *xdp, const struct settings *s, struct packet *p)
{
	enum verdict v = walk(p, (void *)(long)xdp->data, (void *)(long)xdp->data_end);
	if (v == OTHER || dropped(s, v))
		return v;
	__u32 action = listed(s, p);
	if (action == BLOCKS)
		return BLOCKED;
	if (v != VERDICTS)
		return v;
	if ((p->flags & (SYN | ACK)) == SYN)
		return judge_syn(xdp, s, p, action == PASSES);
	return judge_segment(xdp, s, p, action == PASSES);
}

SEC("xdp")
int shield(struct xdp_md *xdp)
{
	struct packet p = {};
	struct settings *s = the_settings();
	if (!s || !(s->flags & READY))
		return XDP_PASS;
	enum verdict v = judge(xdp, s, &p);
	bool drop = dropped(s, v), answered = v == SYN_ANSWERED;
	count(v, &p, drop || answered);
	return drop ? XDP_DROP : answered ? XDP_TX : XDP_PASS;
}

// The negotiated options are in the cookie and in the segment that returns it.
static __always_inline enum verdict hand_over(struct __sk_buff *skb, struct packet *p, __u32 stamp)
{
	struct options o = {};
	read_options(p, &o);
	if (o.ts && o.ts_echo != stamp)
		return UNADMITTED; // not what was sent with this cookie
	__u32 value = p->ack - 1, scale = value >> 2 & 15;
	struct bpf_tcp_req_attrs agreed = {
		.mss = mss_of(p->version, value),
		.sack_ok = value >> 6 & 1,
		.wscale_ok = scale != NO_SCALE,
		.snd_wscale = scale != NO_SCALE ? scale : 0,
		.rcv_wscale = scale != NO_SCALE ? WINDOW_SCALE : 0,
		.tstamp_ok = o.ts,
		.rcv_tsval = o.ts ? o.ts_value : 0,
		.rcv_tsecr = o.ts ? o.ts_echo : 0,
	};
	enum verdict v = UNADMITTED;
	struct bpf_sock *sk = lookup(skb, p);
	if (!sk)
		return v;
	if (sk->state == TCP_LISTEN) {
		struct sock *listener = bpf_skc_to_tcp_sock(sk);
		if (listener && bpf_sk_assign_tcp_reqsk(skb, listener, &agreed, sizeof(agreed)) == 0)
			v = ADMITTED;
	} else {
		v = VERDICTS; // the handshake is complete already
	}
	bpf_sk_release(sk);
	return v;
}

static __always_inline enum verdict admission(struct __sk_buff *skb, struct packet *p)
{
	__u32 stamp;
	struct settings *s = the_settings();
	if (!s || !(s->flags & READY))
		return VERDICTS;
	if (skb->protocol != htons(ETH_P_IP) && skb->protocol != htons(ETH_P_IPV6))
		return VERDICTS; // still in a VLAN: for the device above
	struct bpf_sock *sk = skb->sk;
	if (sk && sk->state == TCP_NEW_SYN_RECV)
		return VERDICTS; // handed over on the device below
	if (walk(p, (void *)(long)skb->data, (void *)(long)skb->data_end) != VERDICTS)
		return VERDICTS;
	if ((p->flags & (SYN | RST | ACK)) != ACK)
		return VERDICTS;
	if (!expected(s, bpf_ktime_get_coarse_ns()) || !ours(p, &stamp))
		return VERDICTS;
	return hand_over(skb, p, stamp);
}

enum { HEADERS = MAX_L2 + 40 + 60 + 64 }; // that admit wants to see in one piece

SEC("tcx/ingress")
int admit(struct __sk_buff *skb)
{
	struct packet p = {};
	if ((void *)(long)skb->data + HEADERS > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	enum verdict v = admission(skb, &p);
	if (v != VERDICTS)
		count(v, &p, false);
	return TCX_NEXT;
}

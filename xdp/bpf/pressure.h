// Decides when to answer SYNs and drop strays, and which sources open connections
// too fast. Times are those of CLOCK_MONOTONIC_COARSE.
#pragma once

#include "packet.h"

enum {
	WINDOW_BITS = 27, // a window of a meter lasts 2^27 ns, 134 ms
	BATCH = 16, // packets that a CPU counts before it adds them to the meter
};

// Counts a packet and returns whether the meter is above its limit, or was recently.
static __always_inline bool pressed(const struct settings *s, enum meter_of which, __u64 now)
{
	__u32 at = which, first = 0;
	struct meter *m = bpf_map_lookup_elem(&meters, &at);
	struct pending *p = bpf_map_lookup_elem(&pendings, &first);
	if (!m || !p)
		return false;
	__u64 count = ++p->counts[which];
	if (count >= BATCH) {
		// CPUs that get here with a window's first packet may each lose a batch.
		__u64 window = now >> WINDOW_BITS;
		p->counts[which] = 0;
		if (m->window != window) {
			m->window = window;
			m->count = 0;
		}
		count += __sync_fetch_and_add(&m->count, count);
		if (count > m->peak)
			m->peak = count;
		if (count > s->limits[which])
			m->until = now + s->hold;
	}
	return now < m->until;
}

// Returns whether the shield answers SYNs now, or did within the last ns.
static __always_inline bool answering(const struct settings *s, __u64 now, __u64 within)
{
	if (s->cookies != ADAPTIVE)
		return s->cookies == ALWAYS;
	__u32 at = SYNS;
	struct meter *m = bpf_map_lookup_elem(&meters, &at);
	return m && m->until && now < m->until + within;
}

static __always_inline bool overdrawn(const struct settings *s, const struct source *source, __u64 now)
{
	return s->interval && source->due > now + s->burst;
}

// Counts a connection from a validated source and returns whether it is allowed.
static __always_inline bool charge(const struct settings *s, const struct packet *p, bool exempt, __u64 now)
{
	struct network n = network(p);
	struct source *source = bpf_map_lookup_elem(&sources, &n);
	if (!source) {
		struct source first = {.due = now + s->interval, .connections = 1, .seen = now};
		bpf_map_update_elem(&sources, &n, &first, BPF_NOEXIST);
		return true;
	}
	source->seen = now;
	if (!exempt && overdrawn(s, source, now))
		return false;
	source->due = (source->due > now ? source->due : now) + s->interval;
	source->connections++;
	return true;
}

// Adds a dropped or answered packet, if it is in the sample, to its prefix.
static __always_inline void note(const struct packet *p, enum verdict v)
{
	struct network n = network(p);
	struct noise *noise = bpf_map_lookup_elem(&noises, &n);
	__u64 now = bpf_ktime_get_coarse_ns();
	if (!noise) {
		struct noise first = {.samples = 1, .bytes = p->size, .seen = now, .verdict = v};
		bpf_map_update_elem(&noises, &n, &first, BPF_NOEXIST);
		return;
	}
	noise->samples++;
	noise->bytes += p->size;
	noise->seen = now;
	noise->verdict = v;
}

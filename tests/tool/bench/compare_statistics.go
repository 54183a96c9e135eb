package main

import (
	"math"
	"slices"
)

// confidence is the probability with which the bound of a comparison lies above the true ratio.
const confidence = 0.95

// pairedRatio sums up the ratios of paired measurements.
type pairedRatio struct {
	Ratios []float64 `json:"ratios"` // new/old of each pair, in the order of the run
	Median float64   `json:"median"`
	Mean   float64   `json:"mean"`  // geometric
	Bound  float64   `json:"bound"` // one-sided 95% upper confidence bound of the mean
}

// summarizePairs compares two measurements of each pair, which need to be positive; at least two
// pairs are needed.
//
// A ratio of 1/2 is as far from 1 as a ratio of 2 is, so mean and bound are taken of the logarithms
// (Fleming and Wallace, "How not to lie with statistics: the correct way to summarize benchmark
// results", CACM 29(3), 1986). With x = ln(new/old) of each of n pairs, their mean m and their
// standard deviation s (divisor n-1), the one-sided upper 95% confidence bound of the mean is
//
//	exp(m + t(0.95, n-1) * s / sqrt(n))
//
// where t is the quantile of Student's t distribution (NIST/SEMATECH e-Handbook of Statistical
// Methods, section 1.3.5.2, with all of the 5% on one side).
func summarizePairs(older, newer []float64) pairedRatio {
	var p pairedRatio
	var logs []float64
	for i := range older {
		p.Ratios = append(p.Ratios, newer[i]/older[i])
		logs = append(logs, math.Log(newer[i]/older[i]))
	}
	p.Median = median(p.Ratios)
	mean, deviation := meanDeviation(logs)
	n := float64(len(logs))
	p.Mean = math.Exp(mean)
	p.Bound = math.Exp(mean + studentQuantile(confidence, len(logs)-1)*deviation/math.Sqrt(n))
	return p
}

// median returns the middle of the values, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// meanDeviation returns the mean of the values and their standard deviation with the divisor n-1.
func meanDeviation(values []float64) (mean, deviation float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	var squares float64
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(squares / (n - 1))
}

// studentQuantile returns the t that a variable with Student's distribution of that many degrees of
// freedom stays below with probability p, for 0.5 <= p < 1.
func studentQuantile(p float64, freedom int) float64 {
	low, high := 0.0, 1.0
	for studentBelow(high, freedom) < p {
		high *= 2
	}
	for range 100 { // more halvings than a float64 has bits
		middle := (low + high) / 2
		if studentBelow(middle, freedom) < p {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// studentBelow returns the probability that a variable with Student's distribution is below t, for t
// >= 0. For whole degrees of freedom the integral is a finite series (Abramowitz and Stegun,
// "Handbook of Mathematical Functions", 26.7.3 for odd and 26.7.4 for even ones).
func studentBelow(t float64, freedom int) float64 {
	angle := math.Atan(t / math.Sqrt(float64(freedom)))
	sin, cos := math.Sincos(angle)
	even := freedom%2 == 0
	// Each term is the one before times cos² and k/(k+1): the first is 1 for even and cos for odd
	// degrees of freedom, the last has cos to the power of freedom-2.
	term, k := pick(even, 1, cos), pick(even, 1, 2)
	var sum float64
	for ; k < freedom; k += 2 {
		sum += term
		term *= cos * cos * float64(k) / float64(k+1)
	}
	within := sin * sum
	if !even {
		within = (angle + sin*sum) * 2 / math.Pi
	}
	return 0.5 + within/2
}

package main

import (
	"math"
	"testing"
)

// near reports whether two figures agree to the given number of decimals.
func near(a, b float64, decimals int) bool {
	return math.Abs(a-b) <= 0.5000001*math.Pow10(-decimals)
}

// TestStudentQuantile compares with the table of critical values in the NIST/SEMATECH e-Handbook,
// section 1.3.6.7.2.
func TestStudentQuantile(t *testing.T) {
	for _, c := range []struct {
		p       float64
		freedom int
		want    float64
	}{
		{0.95, 1, 6.314}, {0.95, 2, 2.920}, {0.95, 3, 2.353}, {0.95, 4, 2.132}, {0.95, 5, 2.015},
		{0.95, 7, 1.895}, {0.95, 10, 1.812}, {0.95, 13, 1.771}, {0.95, 14, 1.761}, {0.95, 15, 1.753},
		{0.95, 29, 1.699}, {0.95, 30, 1.697}, {0.95, 60, 1.671}, {0.95, 100, 1.660},
		{0.90, 14, 1.345}, {0.975, 14, 2.145}, {0.99, 14, 2.624}, {0.999, 14, 3.787},
		{0.975, 1, 12.706}, {0.999, 2, 22.327}, {0.5, 9, 0},
	} {
		if got := studentQuantile(c.p, c.freedom); !near(got, c.want, 3) {
			t.Errorf("t(%v, %d) is %.4f, the table has %.3f", c.p, c.freedom, got, c.want)
		}
	}
}

// TestSummarizePairs has figures that were worked out from the formula by hand.
func TestSummarizePairs(t *testing.T) {
	for name, c := range map[string]struct {
		older, newer        []float64
		median, mean, bound float64
	}{
		"no spread: the bound is the ratio": {[]float64{1, 2, 4}, []float64{1.1, 2.2, 4.4}, 1.1, 1.1, 1.1},
		"the same":                          {[]float64{3, 3}, []float64{3, 3}, 1, 1, 1},
		// Logarithms ±ln 2: mean 0, deviation ln 2 * sqrt 2, so the bound is 2 to the power of t(0.95, 1).
		"twice and half cancel": {[]float64{1, 1}, []float64{2, 0.5}, 1.25, 1, math.Pow(2, 6.3137515)},
		// Logarithms 0, 0.1, 0.2: mean 0.1, deviation 0.1, so exp(0.1 + 2.9199856*0.1/sqrt 3).
		"three steps": {
			[]float64{1, 1, 1}, []float64{math.Exp(0.2), 1, math.Exp(0.1)}, math.Exp(0.1), math.Exp(0.1), math.Exp(0.1 + 0.16858545),
		},
		// Logarithms -0.02 and 0.02, two of each: deviation 0.04/sqrt 3, so exp(2.3533634*0.02/sqrt 3).
		"four pairs": {
			[]float64{1, 1, 1, 1}, []float64{math.Exp(0.02), math.Exp(-0.02), math.Exp(0.02), math.Exp(-0.02)},
			math.Cosh(0.02), 1, math.Exp(2.3533634 * 0.02 / math.Sqrt(3)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := summarizePairs(c.older, c.newer)
			if !near(got.Median, c.median, 6) || !near(got.Mean, c.mean, 6) || !near(got.Bound, c.bound, 5) {
				t.Errorf("got median %.7f, mean %.7f, bound %.7f; want %.7f, %.7f, %.7f",
					got.Median, got.Mean, got.Bound, c.median, c.mean, c.bound)
			}
			if len(got.Ratios) != len(c.older) || !near(got.Ratios[0], c.newer[0]/c.older[0], 9) {
				t.Errorf("ratios are %v", got.Ratios)
			}
		})
	}
}

// TestSummaryIsSymmetric holds that old and new exchanged give the inverse of the mean.
func TestSummaryIsSymmetric(t *testing.T) {
	older, newer := []float64{1, 1.2, 0.9, 1.1, 1}, []float64{1.05, 1.19, 0.97, 1.2, 0.99}
	one, other := summarizePairs(older, newer), summarizePairs(newer, older)
	if !near(one.Mean*other.Mean, 1, 12) {
		t.Errorf("means %v and %v are not the inverse of each other", one.Mean, other.Mean)
	}
	if one.Bound <= one.Mean || other.Bound <= other.Mean {
		t.Errorf("bounds %v and %v are not above the means %v and %v", one.Bound, other.Bound, one.Mean, other.Mean)
	}
}

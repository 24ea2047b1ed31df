package check

import (
	"math"
	"testing"
)

// The values are of printed tables of the chi-square distribution, and of
// closed forms: two degrees of freedom are exp(-x/2), one is erfc(sqrt(x/2)).
func TestChiSquare(t *testing.T) {
	for _, c := range []struct {
		x       float64
		freedom int
		want    float64
		within  float64 // relative
	}{
		{3.841, 1, 0.05, 1e-3}, {6.635, 1, 0.01, 1e-3}, {10.828, 1, 0.001, 1e-3},
		{5.991, 2, 0.05, 1e-3}, {13.816, 2, 0.001, 1e-3},
		{7.815, 3, 0.05, 1e-3}, {16.266, 3, 0.001, 1e-3},
		{18.307, 10, 0.05, 1e-3}, {29.588, 10, 0.001, 1e-3}, {3.940, 10, 0.95, 1e-3},
		{43.773, 30, 0.05, 1e-3}, {124.342, 100, 0.05, 1e-3}, {149.449, 100, 0.001, 1e-3}, {77.929, 100, 0.95, 1e-3},
		{100, 2, math.Exp(-50), 1e-12}, {1, 2, math.Exp(-0.5), 1e-12}, {1400, 2, math.Exp(-700), 1e-9},
		{50, 1, math.Erfc(5), 1e-9}, {0.5, 1, math.Erfc(0.5), 1e-12},
		{0, 5, 1, 0},
		// For so many degrees of freedom the median is close to k(1-2/9k)^3.
		{10000 * math.Pow(1-2.0/90000, 3), 10000, 0.5, 1e-4},
	} {
		if got := chiSquare(c.x, c.freedom); math.Abs(got-c.want) > c.within*c.want {
			t.Errorf("chi-square %v with %d degrees of freedom: %v, the table says %v", c.x, c.freedom, got, c.want)
		}
	}
}

func TestChiSquareFallsWithDeviation(t *testing.T) {
	for freedom := 1; freedom < 300; freedom += 7 {
		last := 1.0
		for x := 0.5; x < 900; x += 0.5 {
			p := chiSquare(x, freedom)
			if p > last || p < 0 || math.IsNaN(p) {
				t.Fatalf("chi-square %v with %d degrees of freedom: %v after %v", x, freedom, p, last)
			}
			last = p
		}
	}
}
